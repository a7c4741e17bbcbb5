"""A distribution over nothing, which carries a log factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution


class Unit(TorchDistribution):
    """A non-normalised distribution over the empty value; ``factor`` statements are made of it.

    Args:
        log_factor: the log density of the only value, of shape ``batch_shape``.
        has_rsample: whether ``log_factor`` depends on its inputs in a reparameterised way. It is stored on
            the instance only if given, so that a guide can tell that nobody said.

    Shapes:
        sample: ``sample_shape + batch_shape + (0,)``.

    >>> import torch
    >>> from ember.distributions import Unit
    >>> Unit(torch.tensor([1.0, 2.0])).log_prob(torch.empty(2, 0))
    tensor([1., 2.])
    """

    arg_constraints: dict[str, Any] = {"log_factor": constraints.real}
    support = constraints.real

    def __init__(
        self,
        log_factor: float | Tensor,
        *,
        has_rsample: bool | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.log_factor = torch.as_tensor(log_factor)
        if has_rsample is not None:
            self.has_rsample = has_rsample
        super().__init__(self.log_factor.shape, Size((0,)), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the factor."""
        new = self._get_checked_instance(Unit, _instance)
        batch_shape = Size(batch_shape)
        new.log_factor = self.log_factor.expand(batch_shape)
        return self._completed(new, batch_shape, self.event_shape)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Return a tensor without elements."""
        return self.log_factor.new_empty(self.shape(sample_shape))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Return a tensor without elements."""
        return self.log_factor.new_empty(self.shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log factor, whatever the value."""
        return self.log_factor.expand(broadcast_shape(self.batch_shape, value.shape[:-1]))
