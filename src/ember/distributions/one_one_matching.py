"""Random permutations."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.distributions.assignments import best_assignment
from ember.distributions.matching import Matching, MatchingConstraint


class OneOneMatchingConstraint(MatchingConstraint):
    """That a vector is a permutation.

    Args:
        num_nodes: its length.
    """

    def __init__(self, num_nodes: int) -> None:
        super().__init__(num_nodes, 1)
        self.num_nodes = num_nodes


class OneOneMatching(Matching):
    """Random perfect matchings of ``N`` sources with ``N`` destinations.

    A value has the destination of each source.

    The probability is proportional to the exponential of the sum of the logits of what is matched. Exact sums
    go through all sets of destinations, up to 17 of them.

    Args:
        logits: ``(N, N)``.
        bp_iters: how many iterations of an approximation of the normaliser (Vontobel, 2013); None is exact.
        validate_args: whether to check values.

    Raises:
        AssertionError: if the logits are not square.
        NotImplementedError: for a batch of them.

    References:
        P. O. Vontobel (2013), "The Bethe Permanent of a Nonnegative Matrix".
        M. Chertkov, L. Kroc, F. Krzakala, M. Vergassola, L. Zdeborova (2010), "Inference in particle tracking
        experiments by passing messages between images".

    >>> import torch
    >>> from ember.distributions import OneOneMatching
    >>> fn = OneOneMatching(torch.zeros(3, 3))
    >>> fn.log_prob(torch.tensor([2, 0, 1])).exp()
    tensor(0.1667)
    """

    times = 1
    listed = 8

    @property
    def num_nodes(self) -> int:
        """The number of sources, and of destinations."""
        return self.num_destins

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> OneOneMatchingConstraint:
        """Permutations."""
        return OneOneMatchingConstraint(self.num_destins)

    def _all(self) -> Tensor:
        if self.num_destins > 10:
            self._refuse(f"list of matchings of {self.num_destins}")
        return torch.tensor(list(permutations(range(self.num_destins))))


def maximum_weight_matching(logits: Tensor) -> Tensor:
    """The permutation with the greatest sum of logits ``(N, N)``."""
    return best_assignment(logits)
