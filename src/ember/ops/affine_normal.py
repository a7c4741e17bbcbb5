"""Noisy affine functions, kept as such for as long as that saves a factorisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.ops.information_form import (
    LOG_2PI,
    Gaussian,
    check_normal,
    matrix_and_gaussian_to_gaussian,
    mvn_to_gaussian,
)
from ember.ops.small_matrices import matmul, matvecmul

__all__ = ["AffineNormal", "matrix_and_mvn_to_gaussian"]


class AffineNormal:
    """The density of ``y ~ Normal(x @ matrix + loc, scale)`` as a factor over ``(x, y)``.

    Args:
        matrix: shape ``batch_shape + (x_dim, y_dim)``.
        loc, scale: shape ``batch_shape + (y_dim,)``.

    >>> f = AffineNormal(torch.eye(2), torch.zeros(2), torch.ones(2))
    >>> f.condition(torch.zeros(2)).log_density(torch.zeros(2))
    tensor(-1.8379)
    """

    def __init__(self, matrix: Tensor, loc: Tensor, scale: Tensor) -> None:
        assert loc.shape == scale.shape
        assert matrix.shape[:-2] == loc.shape[:-1]
        assert matrix.shape[-1] == loc.shape[-1]
        self.matrix, self.loc, self.scale = matrix, loc, scale
        self._gaussian: Gaussian | None = None

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch."""
        return self.matrix.shape[:-2]

    def dim(self) -> int:
        """The number of entries of ``x`` and ``y`` together."""
        return sum(self.matrix.shape[-2:])

    def to_gaussian(self) -> Gaussian:
        """The factor in information form."""
        if self._gaussian is None:
            normal = torch.distributions.Normal(self.loc, self.scale, validate_args=False)
            noise = mvn_to_gaussian(torch.distributions.Independent(normal, 1, validate_args=False))
            self._gaussian = matrix_and_gaussian_to_gaussian(self.matrix, noise)
        return self._gaussian

    def condition(self, value: Tensor) -> Gaussian:
        """The factor of the first entries, the last ones being ``value``; with all of ``y`` known, one over ``x``."""
        if value.shape[-1] != self.loc.shape[-1]:
            return self.to_gaussian().condition(value)
        root = self.matrix / self.scale.unsqueeze(-2)
        away = (value - self.loc) / self.scale
        at_zero = -0.5 * away.square().sum(-1) - self.scale.log().sum(-1) - 0.5 * away.shape[-1] * LOG_2PI
        return Gaussian(at_zero, matvecmul(root, away), matmul(root, root.mT))

    def left_condition(self, value: Tensor) -> Gaussian | AffineNormal:
        """The factor of the last entries, the first ones being ``value``; with all of ``x`` known, one without matrix."""
        if value.shape[-1] != self.matrix.shape[-2]:
            return self.to_gaussian().left_condition(value)
        loc = matvecmul(self.matrix.mT, value) + self.loc
        return AffineNormal(
            loc.new_zeros((*loc.shape[:-1], 0, loc.shape[-1])), loc, self.scale.expand(loc.shape)
        )

    def rsample(self, sample_shape: Sequence[int] = (), noise: Tensor | None = None) -> Tensor:
        """Draws of ``y``, differentiable, where no ``x`` is left.

        Raises:
            NotImplementedError: if ``x`` has entries, as the factor then has no finite integral.
        """
        if self.matrix.shape[-2] > 0:
            raise NotImplementedError("only a factor without x can be sampled: use left_condition() first")
        shape = Size((*sample_shape, *self.loc.shape))
        if noise is None:
            noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + noise.reshape(shape) * self.scale

    def expand(self, batch_shape: Sequence[int]) -> AffineNormal:
        """The same factors, repeated to that batch shape."""
        return self.changed(lambda x, event: x.expand((*batch_shape, *x.shape[x.dim() - event :])))

    def reshape(self, batch_shape: Sequence[int]) -> AffineNormal:
        """The same factors, the batch in another shape."""
        return self.changed(lambda x, event: x.reshape((*batch_shape, *x.shape[x.dim() - event :])))

    def __getitem__(self, index: object) -> AffineNormal:
        """Some of the batch; the index is a tuple."""
        assert isinstance(index, tuple)
        return self.changed(lambda x, event: x[index + (slice(None),) * event])

    def changed(self, change: Callable[[Tensor, int], Tensor]) -> AffineNormal:
        """With all tensors changed by a function of the tensor and how many of its dims lie in an event."""
        return AffineNormal(change(self.matrix, 2), change(self.loc, 1), change(self.scale, 1))

    def event_permute(self, perm: Tensor) -> Gaussian:
        """See :meth:`Gaussian.event_permute`."""
        return self.to_gaussian().event_permute(perm)

    def __add__(self, other: Gaussian | AffineNormal | float | Tensor) -> Gaussian:
        """The product with another factor, or with the exponential of a number."""
        return self.to_gaussian() + (other.to_gaussian() if isinstance(other, AffineNormal) else other)

    def marginalize(self, left: int = 0, right: int = 0) -> Gaussian:
        """See :meth:`Gaussian.marginalize`; over all of ``y`` the factor integrates to one."""
        if left or right != self.loc.shape[-1]:
            return self.to_gaussian().marginalize(left, right)
        n, shape, new = self.matrix.shape[-2], tuple(self.batch_shape), self.loc.new_zeros
        return Gaussian(new(shape), new((*shape, n)), new((*shape, n, n)))


def matrix_and_mvn_to_gaussian(matrix: Tensor, mvn: Any) -> Gaussian | AffineNormal:
    """The density of ``y = x @ matrix + noise`` as a factor over ``(x, y)``.

    Args:
        matrix: shape ``(..., x_dim, y_dim)``.
        mvn: the noise, a ``MultivariateNormal`` or an ``Independent`` ``Normal``; for the latter, the result is an
            :class:`AffineNormal`.
    """
    check_normal(mvn)
    assert isinstance(matrix, Tensor)
    assert mvn.event_shape == matrix.shape[-1:]
    batch_shape = Size(torch.broadcast_shapes(matrix.shape[:-2], mvn.batch_shape))  # type: ignore[no-untyped-call]
    matrix, mvn = matrix.expand(batch_shape + matrix.shape[-2:]), mvn.expand(batch_shape)
    if isinstance(mvn, torch.distributions.Independent):
        base: Any = mvn.base_dist
        return AffineNormal(matrix, base.loc, base.scale)
    return matrix_and_gaussian_to_gaussian(matrix, mvn_to_gaussian(mvn))
