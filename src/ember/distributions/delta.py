"""All mass on one point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import sum_rightmost
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.typed_torch import independent


class Delta(TorchDistribution):
    """The distribution of a constant.

    Args:
        v: the point, of shape ``batch_shape + event_shape``, or a number.
        log_density: the log density there, a number or a tensor of shape ``batch_shape``. It keeps
            the family closed under differentiable transforms.
        event_dim: how many of the rightmost dims of ``v`` make an event.

    Raises:
        ValueError: if ``event_dim > v.dim()``, or, when validating, if ``log_density`` has another shape.

    >>> import torch
    >>> from ember.distributions import Delta
    >>> Delta(torch.zeros(2, 3), event_dim=1).log_prob(torch.zeros(2, 3))
    tensor([0., 0.])
    """

    has_rsample = True
    arg_constraints: dict[str, Any] = {
        "v": constraints.dependent,
        "log_density": constraints.real,
    }

    def __init__(
        self,
        v: Tensor | float,
        log_density: float | Tensor = 0.0,
        event_dim: int = 0,
        validate_args: bool | None = None,
    ) -> None:
        v = torch.as_tensor(v)
        if event_dim > v.dim():
            raise ValueError(f"Expected event_dim <= v.dim(), actual {event_dim} vs {v.dim()}")
        batch_dim = v.dim() - event_dim
        batch_shape, event_shape = v.shape[:batch_dim], v.shape[batch_dim:]
        if not isinstance(log_density, Tensor):
            log_density = torch.full(batch_shape, log_density, dtype=v.dtype, device=v.device)
        elif validate_args and log_density.shape != batch_shape:
            raise ValueError(f"Expected log_density.shape = {batch_shape}, actual {log_density.shape}")
        self.v = v
        self.log_density = log_density
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """All tensors of the event's shape."""
        return independent(constraints.real, self.event_dim)  # type: ignore[no-any-return]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the point and its density."""
        new = self._get_checked_instance(Delta, _instance)
        batch_shape = Size(batch_shape)
        new.v = self.v.expand(batch_shape + self.event_shape)
        new.log_density = self.log_density.expand(batch_shape)
        return self._completed(new, batch_shape, self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Return the point, expanded; gradients flow to it."""
        return self.v.expand(Size(sample_shape) + self.v.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """``log_density`` at the point, ``-inf`` elsewhere."""
        log_prob = (x == self.v).type(x.dtype).log()
        return sum_rightmost(log_prob, self.event_dim) + self.log_density  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.v

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.v)
