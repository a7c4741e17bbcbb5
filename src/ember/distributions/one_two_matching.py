"""Random pairings of sources, one pair for each destination."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.distributions.assignments import best_assignment
from ember.distributions.matching import Matching, MatchingConstraint


class OneTwoMatchingConstraint(MatchingConstraint):
    """That each destination has two sources.

    Args:
        num_destins: how many destinations there are.
    """

    def __init__(self, num_destins: int) -> None:
        super().__init__(num_destins, 2)


class OneTwoMatching(Matching):
    """Random matchings of ``2 N`` sources with ``N`` destinations, two for each.

    A value has the destination of each source.

    The probability is proportional to the exponential of the sum of the logits of what is matched. Exact sums
    go through how often each destination was taken, up to 10 of them.

    Args:
        logits: ``(2 N, N)``.
        bp_iters: how many iterations of an approximation of the normaliser; None is exact.
        validate_args: whether to check values.

    Raises:
        AssertionError: if there are not two sources for each destination.
        NotImplementedError: for a batch of logits.

    >>> import torch
    >>> from ember.distributions import OneTwoMatching
    >>> fn = OneTwoMatching(torch.zeros(4, 2))
    >>> fn.log_prob(torch.tensor([1, 0, 0, 1])).exp()
    tensor(0.1667)
    """

    times = 2
    listed = 5

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> OneTwoMatchingConstraint:
        """Matchings."""
        return OneTwoMatchingConstraint(self.num_destins)

    def _all(self) -> Tensor:
        if self.num_destins > 6:
            self._refuse(f"list of matchings of {self.num_destins} destinations")
        return enumerate_one_two_matchings(self.num_destins)


@cache
def _matchings(num_destins: int) -> Tensor:
    if num_destins == 1:
        return torch.zeros(1, 2, dtype=torch.long)
    fewer = _matchings(num_destins - 1)
    sources = 2 * num_destins
    found = []
    for j in range(sources):
        for i in range(j):
            # The last destination has sources i and j; the others are matched with what is left.
            whole = torch.full((len(fewer), sources), num_destins - 1)
            whole[:, [k for k in range(sources) if k not in (i, j)]] = fewer
            found.append(whole)
    return torch.cat(found)


def enumerate_one_two_matchings(num_destins: int) -> Tensor:
    """All matchings of ``2 * num_destins`` sources with ``num_destins`` destinations, ``(matchings, sources)``.

    >>> [len(enumerate_one_two_matchings(n)) for n in (1, 2, 3)]
    [1, 6, 90]
    """
    return _matchings(num_destins).clone()


def maximum_weight_matching(logits: Tensor) -> Tensor:
    """The destinations of the matching with the greatest sum of logits ``(2 N, N)``."""
    return best_assignment(logits.repeat_interleave(2, -1)) // 2
