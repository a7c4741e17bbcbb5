"""Values of which one only knows that they lie beyond a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.typed_torch import interval
from ember.distributions.validation import all_valid


class CensoredDistribution(TorchDistribution):
    """A continuous univariate distribution seen through a gauge with limits.

    Values beyond a limit are shown as the limit.

    A value at a limit has the mass beyond it, others have the density of the base. The base needs ``cdf``.

    Args:
        base_dist: the distribution of what is measured.
        low: the lowest value that is shown; None for no limit.
        high: the highest value that is shown; None for no limit.

    Raises:
        ValueError: without any limit, for limits in the wrong order, or a base that is not continuous and
            univariate.

    References:
        J. Tobin (1958), "Estimation of relationships for limited dependent variables".

    >>> from ember.distributions import Normal
    >>> import torch
    >>> from ember.distributions import CensoredDistribution
    >>> CensoredDistribution(Normal(0.0, 1.0), high=0.0).log_prob(torch.tensor([-1.0, 0.0]))
    tensor([-1.4189, -0.6931])
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        base_dist: Any,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if low is None and high is None:
            raise ValueError("CensoredDistribution needs low, high or both")
        if base_dist.event_shape or base_dist.support.is_discrete:
            raise ValueError(
                f"CensoredDistribution needs a continuous univariate base, got {type(base_dist).__name__} with events of shape "
                f"{tuple(base_dist.event_shape)}"
            )
        self.low = None if low is None else torch.as_tensor(low)
        self.high = None if high is None else torch.as_tensor(high)
        if self.low is not None and self.high is not None and not all_valid(self.low < self.high):
            raise ValueError(f"low must be below high, got low={low} and high={high}")
        limits = [limit.shape for limit in (self.low, self.high) if limit is not None]
        batch_shape = Size(broadcast_shape(base_dist.batch_shape, *limits))
        self.base_dist = base_dist.expand(batch_shape)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """What the gauge shows."""
        some: Any = constraints
        if self.low is None:
            return some.less_than_eq(self.high) if hasattr(some, "less_than_eq") else constraints.real
        return some.greater_than_eq(self.low) if self.high is None else interval(self.low, self.high)  # type: ignore[no-any-return]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the base."""
        new = self._get_checked_instance(CensoredDistribution, _instance)
        batch_shape = Size(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.low, new.high = self.low, self.high
        return self._completed(new, batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density, or the log of the mass beyond a limit."""
        if self._validate_args:
            self._validate_sample(value)
        base = self.base_dist
        log_prob: Tensor = base.log_prob(self._strictly_inside(value))
        if self.low is not None:
            log_prob = torch.where(value <= self.low, base.cdf(self.low).log(), log_prob)
        if self.high is not None:
            log_prob = torch.where(value >= self.high, torch.log1p(-base.cdf(self.high)), log_prob)
        return log_prob

    def _strictly_inside(self, value: Tensor) -> Tensor:
        """Values as they are, but draws of the base in place of those at limits: a base need not have a density there."""
        at_limit = torch.zeros_like(value, dtype=torch.bool)
        if self.low is not None:
            at_limit = at_limit | (value <= self.low)
        if self.high is not None:
            at_limit = at_limit | (value >= self.high)
        return torch.where(at_limit, self.base_dist.mean.detach(), value)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw from the base, and show what the gauge would."""
        with torch.no_grad():
            draws: Tensor = self.base_dist.sample(Size(sample_shape))
            return torch.clamp(draws, self.low, self.high)
