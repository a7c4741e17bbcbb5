"""Arrays whose sums are zero, from arrays with one entry less along each dim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.transform_state import CopyableTransform


class ZeroSumTransform(CopyableTransform):
    """Appends a zero along each dim and reflects, so that the direction of that zero becomes the direction of the mean.

    A reflection keeps lengths: the log determinant is zero, and independent normals become :class:`ZeroSumNormal`.

    Args:
        transform_ndims: how many dims from the right.

    References:
        A. Householder (1958), "Unitary triangularization of a nonsymmetric matrix".

    >>> ZeroSumTransform(1)(torch.tensor([1.0, 2.0])).sum().abs() < 1e-6
    tensor(True)
    """

    bijective = True

    def __init__(self, transform_ndims: int = 1) -> None:
        super().__init__()
        some: Any = constraints
        self.transform_ndims = transform_ndims
        self.domain = some.independent(constraints.real, transform_ndims)
        self.codomain = constraints.zero_sum(transform_ndims)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZeroSumTransform) and other.transform_ndims == self.transform_ndims

    __hash__ = None  # type: ignore[assignment]

    def _call(self, x: Tensor) -> Tensor:
        for dim in range(-self.transform_ndims, 0):
            x = _reflected(torch.nn.functional.pad(x.movedim(dim, -1), (0, 1))).movedim(-1, dim)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for dim in range(-self.transform_ndims, 0):
            y = _reflected(y.movedim(dim, -1))[..., :-1].movedim(-1, dim)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero."""
        return x.new_zeros(x.shape[: x.dim() - self.transform_ndims])

    def forward_shape(self, shape: Sequence[int]) -> Size:
        """One entry more along each dim."""
        return self._resized(shape, 1)

    def inverse_shape(self, shape: Sequence[int]) -> Size:
        """One entry less along each dim."""
        return self._resized(shape, -1)

    def _resized(self, shape: Sequence[int], by: int) -> Size:
        start = len(shape) - self.transform_ndims
        return Size([*shape[:start], *(size + by for size in shape[start:])])


def _reflected(x: Tensor) -> Tensor:
    """The reflection that exchanges the last unit vector with the unit vector of equal entries; it is its own inverse."""
    n = x.size(-1)
    root = 1 / math.sqrt(n)
    # v = e_n - 1 / sqrt(n) has the squared length 2 (1 - 1 / sqrt(n)).
    along = (x[..., -1:] - root * x.sum(-1, keepdim=True)) / (1 - root)
    last = torch.zeros(n, dtype=x.dtype, device=x.device)
    last[-1] = 1
    return x - along * (last - root)
