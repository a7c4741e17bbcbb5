"""Whole numbers, all of them equally probable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.elementwise import ElementwiseDistribution
from ember.distributions.validation import all_valid


class DiscreteUniform(ElementwiseDistribution):
    """Whole numbers from ``low`` to ``high``, both included. It can be enumerated.

    Args:
        low: the lowest.
        high: the highest.

    Raises:
        ValueError: if ``high`` is below ``low``.

    >>> import torch
    >>> from ember.distributions import DiscreteUniform
    >>> DiscreteUniform(1, 6).log_prob(torch.tensor(3.0)).exp()
    tensor(0.1667)
    """

    arg_constraints: dict[str, Any] = {}
    has_enumerate_support = True
    low: Tensor
    high: Tensor
    _tensors = ("low", "high")

    def __init__(
        self, low: Tensor | int = 0, high: Tensor | int = 1, *, validate_args: bool | None = None
    ) -> None:
        bounds = [torch.as_tensor(bound).to(torch.get_default_dtype()) for bound in (low, high)]
        super().__init__(*bounds, validate_args=validate_args)
        if not all_valid(self.high >= self.low):
            raise ValueError(f"high must not be below low, got low={low} and high={high}")

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Constraint:
        """The numbers between the bounds."""
        some: Any = constraints
        return some.integer_interval(self.low, self.high)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log of how many numbers there are."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low + 1).log(), -torch.inf)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Round a uniform number down."""
        shape = self._extended_shape(Size(sample_shape))
        uniform = torch.rand(shape, dtype=self.low.dtype, device=self.low.device)
        return torch.minimum(self.low + ((self.high - self.low + 1) * uniform).floor(), self.high)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All numbers, along a new first dim.

        Raises:
            NotImplementedError: if bounds differ along the batch.
        """
        if bool((self.low != self.low.flatten()[0]).any()) or bool(
            (self.high != self.high.flatten()[0]).any()
        ):
            raise NotImplementedError(
                "DiscreteUniform with bounds that differ along the batch cannot be enumerated"
            )
        low, high = self.low.flatten()[0], self.high.flatten()[0]
        values = torch.arange(int(low), int(high) + 1, dtype=self.low.dtype, device=self.low.device)
        values = values.reshape((-1,) + (1,) * len(self.batch_shape))
        return values.expand((-1, *self.batch_shape)) if expand else values

    @property
    def mean(self) -> Tensor:
        """Half the sum of the bounds."""
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Tensor:
        """``(n^2 - 1) / 12`` for ``n`` numbers."""
        return ((self.high - self.low + 1).square() - 1) / 12
