"""Odd powers of real numbers."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import broadcast_shapes
from ember.distributions.validation import all_valid


class PositivePowerTransform(CopyableTransform):
    """``y = sign(x) |x|**exponent`` with a positive exponent, on all real numbers.

    The Jacobian is 0 or infinite at the origin unless the exponent is 1.

    Raises:
        ValueError: when validating, if an exponent is not positive.

    >>> import torch
    >>> from ember.distributions.transforms import PositivePowerTransform
    >>> PositivePowerTransform(2.0)(torch.tensor([-3.0, 3.0]))
    tensor([-9.,  9.])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(
        self, exponent: float | Tensor, *, cache_size: int = 0, validate_args: bool | None = None
    ) -> None:
        super().__init__(cache_size=cache_size)
        self.exponent = torch.as_tensor(float(exponent) if isinstance(exponent, int) else exponent)
        if validate_args is None:
            validate_args = Distribution._validate_args
        if validate_args and not all_valid(self.exponent.gt(0)):
            raise ValueError(f"Expected exponent > 0 but got:{self.exponent}")

    def with_cache(self, cache_size: int = 1) -> PositivePowerTransform:
        """Return the same transform with another size of cache."""
        if self._cache_size == cache_size:
            return self
        return PositivePowerTransform(self.exponent, cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PositivePowerTransform) and bool(self.exponent.eq(other.exponent).all())

    def _call(self, x: Tensor) -> Tensor:
        return x.abs().pow(self.exponent) * x.sign()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.abs().pow(self.exponent.reciprocal()) * y.sign()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``log exponent + (exponent - 1) log |x|``."""
        return self.exponent.log() + (y / x).log()

    def forward_shape(self, shape: Size) -> Size:
        """Broadcasts with the exponent."""
        return broadcast_shapes(shape, self.exponent.shape)

    def inverse_shape(self, shape: Size) -> Size:
        """Broadcasts with the exponent."""
        return broadcast_shapes(shape, self.exponent.shape)
