"""Zeros of one kind, and positive values of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution

_ROUNDS = 200


class HurdleDistribution(TorchDistribution):
    """Zero with the probability of a gate, else a draw from a distribution that is not zero.

    Counts are drawn given that they are positive; a continuous base has no mass at zero to leave out.

    Args:
        base_dist: a distribution of counts, or of positive values.
        gate: the probability of zero.

    Raises:
        ValueError: if the base is not univariate.

    References:
        J. Cragg (1971), "Some statistical models for limited dependent variables"; J. Mullahy (1986).

    >>> from ember.distributions import Poisson
    >>> import torch
    >>> from ember.distributions import HurdleDistribution
    >>> HurdleDistribution(Poisson(1.0), gate=0.3).log_prob(torch.tensor(0.0)).exp()
    tensor(0.3000)
    """

    arg_constraints: dict[str, Any] = {"gate": constraints.unit_interval}

    def __init__(self, base_dist: Any, *, gate: Tensor | float, validate_args: bool | None = None) -> None:
        if base_dist.event_shape:
            raise ValueError(
                f"HurdleDistribution needs a univariate base, got events {tuple(base_dist.event_shape)}"
            )
        gate = torch.as_tensor(gate)
        batch_shape = Size(broadcast_shape(gate.shape, base_dist.batch_shape))
        self.gate = gate.expand(batch_shape)
        self.base_dist = base_dist.expand(batch_shape)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(event_dim=0)
    def support(self) -> Constraint:
        """That of the base, and zero."""
        some: Any = constraints
        support: Constraint = self.base_dist.support if self._counts else some.nonnegative
        return support

    @property
    def _counts(self) -> bool:
        return bool(self.base_dist.support.is_discrete)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the gate and the base."""
        new = self._get_checked_instance(HurdleDistribution, _instance)
        batch_shape = Size(batch_shape)
        new.gate = self.gate.expand(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        return self._completed(new, batch_shape)

    def _zero(self) -> Tensor:
        """The base's log probability of zero."""
        return self.base_dist.log_prob(torch.zeros_like(self.gate))  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the gate at zero; else that of no zero, with the base's given that it is none."""
        if self._validate_args:
            self._validate_sample(value)
        positive = torch.where(value == 0, torch.ones_like(value), value)
        log_prob = torch.log1p(-self.gate) + self.base_dist.log_prob(positive)
        if self._counts:
            log_prob = log_prob - torch.log1p(-self._zero().exp())
        return torch.where(value == 0, self.gate.log(), log_prob)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw the gate, then positive values, again where a count is zero.

        Raises:
            ValueError: if the base gives nothing but zeros.
        """
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            closed = torch.bernoulli(self.gate.expand(shape)).bool()
            base = self.base_dist.expand(shape)
            draws: Tensor = base.sample()
            for _ in range(_ROUNDS if self._counts else 0):
                if not bool(((draws == 0) & ~closed).any()):
                    break
                draws = torch.where(draws == 0, base.sample(), draws)
            else:
                if self._counts:
                    # Where nearly all counts are zero, one is by far the most probable of the others.
                    draws = torch.where(draws == 0, torch.ones_like(draws), draws)
            return torch.where(closed, draws.new_zeros(()), draws)

    @property
    def mean(self) -> Tensor:
        """``(1 - gate)`` times the mean of the base given that it is not zero."""
        result: Tensor = (1 - self.gate) * self.base_dist.mean / self._mass()
        return result

    @property
    def variance(self) -> Tensor:
        """From the second moments."""
        base = self.base_dist
        second: Tensor = (1 - self.gate) * (base.variance + base.mean.square()) / self._mass()
        return second - self.mean.square()

    def _mass(self) -> Tensor:
        """The base's probability of not being zero."""
        return 1 - self._zero().exp() if self._counts else torch.ones_like(self.gate)
