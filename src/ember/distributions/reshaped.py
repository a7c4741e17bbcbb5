"""A batch of distributions, laid out otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.delegation import DelegatedRsample
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution


class BatchReshaped(TorchDistribution):
    """A distribution whose batch shape is another one with as many elements.

    Args:
        base_dist: a distribution.
        batch_shape: the new batch shape; it may only add or remove dims of size 1, so that values keep their order.

    >>> import torch
    >>> from ember.distributions import Normal
    >>> BatchReshaped(Normal(torch.zeros(3), 1.0), (3, 1)).sample().shape
    torch.Size([3, 1])
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = DelegatedRsample()

    def __init__(self, base_dist: Any, batch_shape: Sequence[int]) -> None:
        self.base_dist = base_dist
        batch_shape = Size(batch_shape)
        if [n for n in batch_shape if n != 1] != [n for n in base_dist.batch_shape if n != 1]:
            raise ValueError(
                f"BatchReshaped cannot turn batch shape {tuple(base_dist.batch_shape)} into {tuple(batch_shape)}"
            )
        super().__init__(batch_shape, base_dist.event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """As the base."""
        return self.base_dist.support  # type: ignore[no-any-return]

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """As the base."""
        draws: Tensor = self.base_dist.sample(Size(sample_shape))
        return draws.reshape(self.shape(sample_shape))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """As the base."""
        draws: Tensor = self.base_dist.rsample(Size(sample_shape))
        return draws.reshape(self.shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """As the base."""
        shape = broadcast_shape(value.shape, self.batch_shape + self.event_shape)
        sample_shape = shape[: len(shape) - len(self.batch_shape) - self.event_dim]
        value = value.expand(shape).reshape(sample_shape + self.base_dist.shape())
        log_prob: Tensor = self.base_dist.log_prob(value)
        return log_prob.reshape(sample_shape + tuple(self.batch_shape))

    @property
    def mean(self) -> Tensor:
        """As the base."""
        mean: Tensor = self.base_dist.mean
        return mean.expand(self.base_dist.shape()).reshape(self.shape())

    @property
    def variance(self) -> Tensor:
        """As the base."""
        variance: Tensor = self.base_dist.variance
        return variance.expand(self.base_dist.shape()).reshape(self.shape())
