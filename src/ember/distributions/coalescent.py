"""Times at which lineages of a population meet, backward in time (Kingman's coalescent).

References:
    J. F. C. Kingman (1982), "On the Genealogy of Large Populations".
    A. Popinga, T. Vaughan, T. Stadler, A. J. Drummond (2015), "Inferring Epidemiological Dynamics with
    Bayesian Coalescent Inference: The Merits of Deterministic and Stochastic Models".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.validation import is_validation_enabled


class CoalescentTimesConstraint(Constraint):
    """That each time has two lineages to meet, which began at later leaves.

    Args:
        leaf_times: when lineages begin, ``(..., leaves)``.
        ordered: whether times must be sorted.
    """

    is_discrete = False
    event_dim = 1

    def __init__(self, leaf_times: Tensor, *, ordered: bool = True) -> None:
        self.leaf_times = leaf_times
        self.ordered = ordered

    def check(self, value: Tensor) -> Tensor:
        """Which sequences of times are possible."""
        past = _history(self.leaf_times, value)
        valid: Tensor = (past.meeting >= 1).all(-1)
        if self.ordered:
            valid = valid & (value[..., :-1] <= value[..., 1:]).all(-1)
        return valid


class _History(NamedTuple):
    """What happens, from the last event back to the first."""

    times: Tensor
    pairs: Tensor
    """Pairs of lineages after each event, back in time."""
    meeting: Tensor
    """Pairs of which one meets, for each time of meeting, in the order in which these are given."""


def _history(leaf_times: Tensor, coal_times: Tensor) -> _History:
    shape = broadcast_shape(leaf_times.shape[:-1], coal_times.shape[:-1])
    leaves, meetings = leaf_times.size(-1), coal_times.size(-1)
    times = torch.cat([leaf_times.expand((*shape, leaves)), coal_times.expand((*shape, meetings))], -1)
    change = torch.ones_like(times)
    change[..., leaves:] = -1
    # Of events at one time, leaves come first.
    order = times.detach().sort(dim=-1, descending=True, stable=True).indices
    times, change = times.gather(-1, order), change.gather(-1, order)
    lineages = change.cumsum(-1)
    before = (lineages - change).gather(-1, order.argsort(-1)[..., leaves:])
    return _History(times, lineages * (lineages - 1) / 2, before * (before - 1) / 2)


def _broadcast_leaves(leaf_times: Tensor) -> tuple[Size, Size]:
    if leaf_times.dim() < 1 or leaf_times.size(-1) < 2:
        raise ValueError(
            f"leaf_times has a last dim of two leaves or more, got shape {tuple(leaf_times.shape)}"
        )
    return leaf_times.shape[:-1], Size([leaf_times.size(-1) - 1])


class CoalescentTimes(TorchDistribution):
    """Sorted times at which lineages that began at given leaves meet, each pair at a constant rate, backward in time.

    Args:
        leaf_times: when lineages begin, ``(..., leaves)``, in any order.
        rate: of a pair, over the time: one over the size of the population.
        validate_args: whether to check arguments and values.

    Shapes:
        events: ``(leaves - 1,)``.

    Raises:
        ValueError: if there are no two leaves.

    >>> import torch
    >>> from ember.distributions import CoalescentTimes
    >>> fn = CoalescentTimes(torch.zeros(2), torch.tensor(2.0))
    >>> fn.log_prob(torch.tensor([-1.0]))  # log(2) - 2
    tensor(-1.3069)
    """

    arg_constraints: dict[str, Any] = {"leaf_times": constraints.real, "rate": constraints.positive}

    def __init__(
        self, leaf_times: Tensor, rate: Tensor | float = 1.0, *, validate_args: bool | None = None
    ) -> None:
        rate = torch.as_tensor(rate, dtype=leaf_times.dtype, device=leaf_times.device)
        batch_shape, event_shape = _broadcast_leaves(leaf_times)
        self.leaf_times, self.rate = leaf_times, rate
        super().__init__(Size(broadcast_shape(batch_shape, rate.shape)), event_shape, validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Constraint:
        """Sorted times with two lineages to meet."""
        return CoalescentTimesConstraint(self.leaf_times)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand leaves and rate."""
        new = self._get_checked_instance(CoalescentTimes, _instance)
        shape = Size(batch_shape)
        new.leaf_times = self.leaf_times.expand(shape + self.leaf_times.shape[-1:])
        new.rate = self.rate.expand(shape)
        return self._completed(new, shape, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log rates of what meets, less the rate of all pairs over the time."""
        if self._validate_args:
            self._validate_sample(value)
        past = _history(self.leaf_times, value)
        waits = past.times[..., :-1] - past.times[..., 1:]
        waiting = (past.pairs[..., :-1] * waits).sum(-1)
        return past.meeting.log().sum(-1) + value.size(-1) * self.rate.log() - self.rate * waiting

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw the total hazard of each meeting, and find the times by which it has run out."""
        shape = Size(sample_shape) + self.batch_shape
        leaves = self.leaf_times.size(-1)
        # In units of the time that a pair takes: what meets then has a rate of one.
        starts = self.leaf_times * self.rate.unsqueeze(-1)
        starts = starts.expand((*shape, leaves)).sort(dim=-1, descending=True).values
        hazards = torch.empty((*shape, leaves - 1), dtype=starts.dtype, device=starts.device).exponential_()
        begun = torch.ones(shape, dtype=torch.long, device=starts.device)
        last = torch.full_like(starts[..., :1], -torch.inf)
        starts = torch.cat([starts, last], -1)
        now, met = starts[..., 0], []
        for k in range(leaves - 1):
            left = hazards[..., k]
            found = torch.zeros_like(begun, dtype=torch.bool)
            for _ in range(leaves):
                n = (begun - k).to(starts.dtype)
                pairs = n * (n - 1) / 2
                upcoming = starts.gather(-1, begun.unsqueeze(-1)).squeeze(-1)
                until = torch.where(pairs > 0, pairs * (now - upcoming), 0.0)
                meets = (pairs > 0) & (left <= until) & ~found
                now = torch.where(meets, now - left / pairs.clamp(min=1), now)
                passes = ~meets & ~found
                left = torch.where(passes, left - until, left)
                now = torch.where(passes, upcoming, now)
                begun = begun + passes
                found = found | meets
            met.append(now)
        return torch.stack(met[::-1], -1) / self.rate.unsqueeze(-1)


class CoalescentTimesWithRate(TorchDistribution):
    """Sorted times at which lineages meet, at a rate that is constant between whole times, and goes on beyond both ends.

    Args:
        leaf_times: when lineages begin, ``(..., leaves)``, in any order.
        rate_grid: of a pair, ``(..., duration)``: the first from time zero to one.
        validate_args: whether to check arguments and values.

    Shapes:
        events: ``(leaves - 1,)``.

    Raises:
        ValueError: if there are no two leaves.

    >>> import torch
    >>> from ember.distributions import CoalescentTimesWithRate
    >>> fn = CoalescentTimesWithRate(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 2.0, 3.0]))
    >>> fn.log_prob(torch.tensor([1.5]))  # log(2) - 3 - 2 / 2
    tensor(-3.3069)
    """

    arg_constraints: dict[str, Any] = {
        "leaf_times": constraints.real,
        "rate_grid": constraints.independent(constraints.positive, 1),  # type: ignore[no-untyped-call]
    }

    def __init__(self, leaf_times: Tensor, rate_grid: Tensor, *, validate_args: bool | None = None) -> None:
        batch_shape, event_shape = _broadcast_leaves(leaf_times)
        self.leaf_times, self.rate_grid = leaf_times, rate_grid
        shape = broadcast_shape(batch_shape, rate_grid.shape[:-1])
        super().__init__(Size(shape), event_shape, validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Constraint:
        """Sorted times with two lineages to meet."""
        return CoalescentTimesConstraint(self.leaf_times)

    @property
    def duration(self) -> int:
        """How many rates there are."""
        return self.rate_grid.size(-1)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand leaves and rates."""
        new = self._get_checked_instance(CoalescentTimesWithRate, _instance)
        shape = Size(batch_shape)
        new.leaf_times = self.leaf_times.expand(shape + self.leaf_times.shape[-1:])
        new.rate_grid = self.rate_grid.expand(shape + self.rate_grid.shape[-1:])
        return self._completed(new, shape, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum of the log rates of what meets, less the rates of all pairs over the time.

        Linear in the duration.
        """
        if self._validate_args:
            self._validate_sample(value)
        past = _history(self.leaf_times, value)
        total = self._integral(past.times)
        waiting = (past.pairs[..., :-1] * (total[..., :-1] - total[..., 1:])).sum(-1)
        cell = value.detach().floor().clamp(0, self.duration - 1).long()
        shape = broadcast_shape(value.shape[:-1], self.rate_grid.shape[:-1])
        rates = self.rate_grid.expand((*shape, -1)).gather(-1, cell.expand((*shape, -1)))
        return past.meeting.log().sum(-1) + rates.log().sum(-1) - waiting

    def _integral(self, times: Tensor) -> Tensor:
        """The rate of a pair, integrated from time zero."""
        shape = broadcast_shape(times.shape[:-1], self.rate_grid.shape[:-1])
        times, rates = times.expand((*shape, -1)), self.rate_grid.expand((*shape, -1))
        cell = times.detach().floor().clamp(0, self.duration - 1).long()
        ends = rates.cumsum(-1)
        return ends.gather(-1, cell) - rates.gather(-1, cell) * (cell + 1 - times)


class CoalescentRateLikelihood:
    """The density of :class:`CoalescentTimesWithRate` as a function of the rates, for each time by itself.

    So a model can go through time, and weigh the rate of each step: ``sum`` over all steps is the log
    density. It is no distribution; use :func:`ember.factor`.

    Args:
        leaf_times: when lineages begin, ``(..., leaves)``, in any order.
        coal_times: when they meet, ``(..., leaves - 1)``.
        duration: how many rates there are.
        validate_args: whether to check that these times are possible.

    Raises:
        ValueError: if they are not.

    >>> import torch
    >>> from ember.distributions import CoalescentRateLikelihood
    >>> likelihood = CoalescentRateLikelihood(torch.tensor([3.0, 3.0]), torch.tensor([1.5]), 3)
    >>> likelihood(torch.tensor([1.0, 2.0, 3.0]))
    tensor([ 0.0000, -0.3069, -3.0000])
    """

    def __init__(
        self, leaf_times: Tensor, coal_times: Tensor, duration: int, *, validate_args: bool | None = None
    ) -> None:
        check = is_validation_enabled() if validate_args is None else validate_args
        if check and not bool(CoalescentTimesConstraint(leaf_times, ordered=False).check(coal_times).all()):
            raise ValueError(
                f"Invalid (leaf_times, coal_times): at some of {coal_times.tolist()} there are no two lineages to meet"
            )
        past = _history(leaf_times, coal_times)
        cells = torch.arange(duration, dtype=past.times.dtype, device=past.times.device)
        # How long each cell has each number of pairs: the ends of a wait, clamped to the cell; the outer cells have no end.
        low, high = cells.clone(), cells + 1
        low[0], high[-1] = -torch.inf, torch.inf
        later, earlier = past.times[..., :-1, None], past.times[..., 1:, None]
        overlap = (later.minimum(high) - earlier.maximum(low)).clamp(min=0)
        self._linear = -(past.pairs[..., :-1, None] * overlap).sum(-2)
        met = coal_times.floor().clamp(0, duration - 1).unsqueeze(-1) == cells
        self._log = met.to(past.times.dtype).sum(-2)
        self._const = (past.meeting.log().unsqueeze(-1) * met).sum(-2)

    def __call__(self, rate_grid: Tensor, t: Any = slice(None)) -> Tensor:
        """The log factors of times ``t``, given their rates.

        Args:
            rate_grid: the rates of these times, ``(..., times)``, or without that dim for one time.
            t: an index or a slice of times.
        """
        linear, const, log = (x[..., t] for x in (self._linear, self._const, self._log))
        return const + linear * rate_grid + log * rate_grid.log()


def bio_phylo_to_times(tree: Any, *, get_time: Any = None) -> tuple[Tensor, Tensor]:
    """The times of leaves and of meetings of a tree of Biopython (``Bio.Phylo``), both sorted.

    Args:
        tree: a binary tree.
        get_time: from a clade to its time; by default branch lengths are added up from the root.

    Returns:
        ``(leaf_times, coal_times)``; a clade with more than two branches counts as several meetings at one
            time.
    """
    leaves: list[float] = []
    meetings: list[float] = []
    waiting = [(tree.root, 0.0)]
    while waiting:
        clade, time = waiting.pop()
        at = time if get_time is None else get_time(clade)
        children = list(clade)
        if children:
            meetings.extend([at] * (len(children) - 1))
            waiting.extend((child, time + (child.branch_length or 0.0)) for child in children)
        else:
            leaves.append(at)
    return torch.tensor(sorted(leaves)), torch.tensor(sorted(meetings))
