"""Orthonormal changes of basis along one dim, which keep volume: cosines and Haar wavelets."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import independent
from ember.ops.spectral import dct, haar_transform, idct, inverse_haar_transform


class UnitJacobianTransform(CopyableTransform):
    """Base of linear maps along one dim whose determinant is 1 or -1; subclasses map the last dim."""

    bijective = True

    def __init__(self, dim: int, cache_size: int = 0) -> None:
        assert isinstance(dim, int) and dim < 0, f"dim counts from the right and is negative, got {dim!r}"
        self.dim = dim
        super().__init__(cache_size=cache_size)

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Constraint:
        """Real tensors of ``-dim`` dims."""
        return independent(constraints.real, -self.dim)  # type: ignore[no-any-return]

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Constraint:
        """Real tensors of ``-dim`` dims."""
        return independent(constraints.real, -self.dim)  # type: ignore[no-any-return]

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _backward(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        return self._forward(x.transpose(self.dim, -1)).transpose(self.dim, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._backward(y.transpose(self.dim, -1)).transpose(self.dim, -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero: volume does not change."""
        return x.new_zeros(x.shape[: self.dim])

    def forward_shape(self, shape: Size) -> Size:
        """The same shape, of which at least ``-dim`` dims must be there."""
        if len(shape) < -self.dim:
            raise ValueError("Too few dimensions on input")
        return shape

    inverse_shape = forward_shape


class DiscreteCosineTransform(UnitJacobianTransform):
    """The orthonormal discrete cosine transform of type II, with weights on frequencies.

    Args:
        dim: a negative dim; the event has ``-dim`` dims.
        smooth: frequencies are weighted by this power, scaled so that volume does not change. With 0, white
            noise becomes white noise; with 1, Brownian noise does; with -1, violet noise.

    >>> import torch
    >>> from ember.distributions.transforms import DiscreteCosineTransform
    >>> y = DiscreteCosineTransform()(torch.ones(4))
    >>> y.round().abs()
    tensor([2., 0., 0., 0.])
    """

    def __init__(self, dim: int = -1, smooth: float = 0.0, cache_size: int = 0) -> None:
        super().__init__(dim, cache_size)
        self.smooth = float(smooth)

    def __hash__(self) -> int:
        return hash((type(self), self.dim, self.smooth))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DiscreteCosineTransform)
            and type(self) is type(other)
            and (self.dim, self.smooth) == (other.dim, other.smooth)
        )

    def _weight(self, y: Tensor) -> Tensor:
        log_frequency = (torch.arange(y.size(-1), dtype=y.dtype, device=y.device) + 0.5).log()
        return (self.smooth * (log_frequency - log_frequency.mean())).exp()

    def _forward(self, x: Tensor) -> Tensor:
        y = dct(x)
        return y * self._weight(y) if self.smooth else y

    def _backward(self, y: Tensor) -> Tensor:
        return idct(y / self._weight(y) if self.smooth else y)

    def with_cache(self, cache_size: int = 1) -> DiscreteCosineTransform:
        """Return the same transform with another size of cache."""
        if self._cache_size == cache_size:
            return self
        return DiscreteCosineTransform(self.dim, self.smooth, cache_size=cache_size)


class HaarTransform(UnitJacobianTransform):
    """The orthonormal discrete Haar transform; see :func:`ember.ops.tensor_utils.haar_transform`.

    Args:
        dim: a negative dim; the event has ``-dim`` dims.
        flip: reverse the dim first.

    >>> import torch
    >>> from ember.distributions.transforms import HaarTransform
    >>> HaarTransform()(torch.ones(4))
    tensor([2.0000, 0.0000, 0.0000, 0.0000])
    """

    def __init__(self, dim: int = -1, flip: bool = False, cache_size: int = 0) -> None:
        super().__init__(dim, cache_size)
        self.flip = flip

    def __hash__(self) -> int:
        return hash((type(self), self.dim, self.flip))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, HaarTransform)
            and type(self) is type(other)
            and (self.dim, self.flip) == (other.dim, other.flip)
        )

    def _forward(self, x: Tensor) -> Tensor:
        return haar_transform(x.flip(-1) if self.flip else x)

    def _backward(self, y: Tensor) -> Tensor:
        x = inverse_haar_transform(y)
        return x.flip(-1) if self.flip else x

    def with_cache(self, cache_size: int = 1) -> HaarTransform:
        """Return the same transform with another size of cache."""
        return (
            self
            if self._cache_size == cache_size
            else HaarTransform(self.dim, self.flip, cache_size=cache_size)
        )
