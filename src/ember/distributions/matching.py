"""What distributions over matchings of sources with destinations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint
from torch.distributions.utils import lazy_property

from ember.distributions import constraints
from ember.distributions.assignments import (
    approximate_log_sum,
    best_assignment,
    check_square,
    draw_assignment,
    log_sum_of_assignments,
    sum_is_feasible,
)
from ember.distributions.torch_distribution import TorchDistribution


class MatchingConstraint(Constraint):
    """That each destination has the same number of sources.

    Args:
        num_destins: how many destinations there are.
        times: how many sources each has.
    """

    is_discrete = True
    event_dim = 1

    def __init__(self, num_destins: int, times: int) -> None:
        self.num_destins = num_destins
        self.times = times

    def check(self, value: Tensor) -> Tensor:
        """Which vectors of destinations are matchings."""
        wanted = torch.arange(self.num_destins, device=value.device).repeat_interleave(self.times)
        if value.shape[-1:] != wanted.shape:
            return torch.zeros(value.shape[:-1], dtype=torch.bool, device=value.device)
        result: Tensor = (value.sort(-1).values == wanted).all(-1)
        return result


class Matching(TorchDistribution):
    """Base of distributions over matchings; subclasses say how many sources a destination has, and list the matchings.

    Args:
        logits: of each source and destination.
        bp_iters: how many iterations of an approximation of the normaliser; None is exact.
        validate_args: whether to check values.
    """

    arg_constraints: dict[str, Any] = {"logits": constraints.real}
    has_enumerate_support = True
    times: int
    """How many sources each destination has."""
    listed: int
    """Draws choose from a list of all matchings where there are at most so many destinations."""

    def __init__(
        self, logits: Tensor, *, bp_iters: int | None = None, validate_args: bool | None = None
    ) -> None:
        if bp_iters is not None and not (isinstance(bp_iters, int) and bp_iters > 0):
            raise AssertionError(f"bp_iters is a positive number, or None for an exact sum, got {bp_iters!r}")
        self.num_destins = check_square(type(self).__name__, logits, self.times)
        self.num_sources = len(logits)
        self.logits = logits
        self.bp_iters = bp_iters
        super().__init__(Size(), Size([self.num_sources]), validate_args)

    def _all(self) -> Tensor:
        """All matchings, ``(matchings, sources)``."""
        raise NotImplementedError

    @lazy_property
    def log_partition_function(self) -> Tensor:
        """The log of the sum over all matchings of the exponential of their logits' sum.

        Raises:
            NotImplementedError: if that is exact and goes through too many states; it says to give ``bp_iters``.
        """
        if self.bp_iters is not None:
            return approximate_log_sum(self.logits, self.times, self.bp_iters)
        self._check_size("a normaliser")
        return log_sum_of_assignments(self.logits, self.times)

    def _check_size(self, what: str) -> None:
        if not sum_is_feasible(self.num_destins, self.times):
            self._refuse(f"{what} of {self.num_destins} destinations")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} has no exact {what}: too many matchings; densities can be approximated, bp_iters=10"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of destinations ``(..., sources)``."""
        if self._validate_args:
            self._validate_sample(value)
        source = torch.arange(self.num_sources, device=self.logits.device)
        return self.logits[source, value].sum(-1) - self.log_partition_function

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All matchings, ``(matchings, sources)``."""
        return self._all().to(self.logits.device)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw matchings, exactly.

        Raises:
            NotImplementedError: if ``bp_iters`` was given: there is no approximate sampler.
        """
        if self.bp_iters is not None:
            raise NotImplementedError(
                f"{type(self).__name__} with bp_iters has no sampler: leave bp_iters out"
            )
        shape = Size(sample_shape)
        if self.num_destins <= self.listed:
            every = self.enumerate_support()
            source = torch.arange(self.num_sources, device=self.logits.device)
            scores = self.logits[source, every].sum(-1)
            return every[torch.distributions.Categorical(logits=scores).sample(shape)]  # type: ignore[no-untyped-call]
        self._check_size("a sampler")
        drawn = [draw_assignment(self.logits, self.times) for _ in range(shape.numel())]
        return (
            torch.stack(drawn).reshape(shape + self.event_shape)
            if drawn
            else self.logits.new_zeros(shape + self.event_shape, dtype=torch.long)
        )

    def mode(self) -> Tensor:  # type: ignore[override]
        """The likeliest matching."""
        copies = self.logits.repeat_interleave(self.times, -1)
        return best_assignment(copies) // self.times
