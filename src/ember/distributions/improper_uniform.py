"""A flat, improper density, for models written as factor graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution


class ImproperUniform(TorchDistribution):
    """Log density 0 everywhere on a support; it cannot be sampled.

    Args:
        support: a constraint.
        batch_shape: the batch shape.
        event_shape: the event shape.

    >>> import torch
    >>> from ember.distributions import ImproperUniform, constraints
    >>> ImproperUniform(constraints.positive, (2,), ()).log_prob(torch.ones(2))
    tensor([0., 0.])
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, support: object, batch_shape: Sequence[int], event_shape: Sequence[int]) -> None:
        assert isinstance(support, constraints.Constraint), f"expected a constraint, got {support!r}"
        self._support = support
        super().__init__(Size(batch_shape), Size(event_shape))

    @constraints.dependent_property
    def support(self) -> Constraint:
        """The constraint that was given."""
        return self._support

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Return the same density over a larger batch."""
        new = self._get_checked_instance(ImproperUniform, _instance)
        new._support = self._support
        return self._completed(new, Size(batch_shape), self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Zero, whatever the value."""
        shape = broadcast_shape(value.shape[: value.dim() - self.event_dim], self.batch_shape)
        return torch.zeros((), dtype=value.dtype, device=value.device).expand(shape)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Not possible.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("ImproperUniform does not support sampling")
