"""Gaussians in information form, not normalised, as factors of chains.

A factor is ``exp(log_normalizer + x @ info_vec - x @ precision @ x / 2)``. The precision need not have an inverse, so that what
says nothing about some directions, such as a transition, is a factor like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.nn.functional import pad

from ember.ops.small_matrices import matmul, matvecmul, safe_cholesky, triangular_solve

__all__ = ["Gaussian", "matrix_and_gaussian_to_gaussian", "mvn_to_gaussian"]

LOG_2PI = math.log(2 * math.pi)


class Gaussian:
    """A factor over vectors of ``dim()`` entries, or a batch of such factors.

    Args:
        log_normalizer: shape ``batch_shape``.
        info_vec: shape ``batch_shape + (n,)``; the precision times the mean.
        precision: shape ``batch_shape + (n, n)``, symmetric and positive semidefinite.

    >>> g = Gaussian(torch.tensor(0.0), torch.tensor([2.0]), torch.tensor([[2.0]]))
    >>> g.log_density(torch.tensor([1.0])), round(float(g.event_logsumexp()), 4)
    (tensor(1.), 1.5724)
    """

    def __init__(self, log_normalizer: Tensor, info_vec: Tensor, precision: Tensor) -> None:
        assert info_vec.dim() >= 1
        assert precision.dim() >= 2
        assert precision.shape[-2:] == info_vec.shape[-1:] * 2
        self.log_normalizer = log_normalizer
        self.info_vec = info_vec
        self.precision = precision

    def dim(self) -> int:
        """The number of entries of a vector."""
        return self.info_vec.shape[-1]

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch, which the three tensors broadcast to."""
        shapes = self.log_normalizer.shape, self.info_vec.shape[:-1], self.precision.shape[:-2]
        return Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]

    def changed(self, change: Callable[[Tensor, int], Tensor]) -> Gaussian:
        """With all tensors changed by a function of the tensor and how many of its dims lie in an event."""
        return Gaussian(change(self.log_normalizer, 0), change(self.info_vec, 1), change(self.precision, 2))

    def expand(self, batch_shape: Sequence[int]) -> Gaussian:
        """The same factors, repeated to that batch shape."""
        shape, n = tuple(batch_shape), self.dim()
        return Gaussian(
            self.log_normalizer.expand(shape),
            self.info_vec.expand((*shape, n)),
            self.precision.expand((*shape, n, n)),
        )

    def reshape(self, batch_shape: Sequence[int]) -> Gaussian:
        """The same factors, the batch in another shape."""
        shape, n, whole = tuple(batch_shape), self.dim(), self.expand(self.batch_shape)
        return Gaussian(
            whole.log_normalizer.reshape(shape),
            whole.info_vec.reshape((*shape, n)),
            whole.precision.reshape((*shape, n, n)),
        )

    def __getitem__(self, index: object) -> Gaussian:
        """Some of the batch; the index is a tuple."""
        assert isinstance(index, tuple)
        whole = self.expand(self.batch_shape)
        return Gaussian(
            whole.log_normalizer[index],
            whole.info_vec[(*index, slice(None))],
            whole.precision[(*index, slice(None), slice(None))],
        )

    @staticmethod
    def cat(parts: Sequence[Gaussian], dim: int = 0) -> Gaussian:
        """Several batches in one, joined along a dim of the batch."""
        whole = [part.expand(part.batch_shape) for part in parts]
        dim = dim % len(whole[0].batch_shape)
        return Gaussian(
            torch.cat([part.log_normalizer for part in whole], dim),
            torch.cat([part.info_vec for part in whole], dim),
            torch.cat([part.precision for part in whole], dim),
        )

    def event_pad(self, left: int = 0, right: int = 0) -> Gaussian:
        """The factor as one of longer vectors, of whose new entries it says nothing."""
        sides = (left, right)
        return Gaussian(self.log_normalizer, pad(self.info_vec, sides), pad(self.precision, sides + sides))

    def event_permute(self, perm: Tensor) -> Gaussian:
        """The factor of vectors with their entries in another order."""
        assert isinstance(perm, Tensor)
        assert perm.shape == (self.dim(),)
        precision = self.precision.index_select(-1, perm).index_select(-2, perm)
        return Gaussian(self.log_normalizer, self.info_vec.index_select(-1, perm), precision)

    def __add__(self, other: Gaussian | float | Tensor) -> Gaussian:
        """The product of two factors, or of one and the exponential of a number."""
        if isinstance(other, Gaussian):
            assert self.dim() == other.dim()
            return Gaussian(
                self.log_normalizer + other.log_normalizer,
                self.info_vec + other.info_vec,
                self.precision + other.precision,
            )
        if isinstance(other, (int, float, Tensor)):
            return Gaussian(self.log_normalizer + other, self.info_vec, self.precision)
        raise ValueError(f"Unsupported type: {type(other)}")

    def __sub__(self, other: float | Tensor) -> Gaussian:
        """The factor over the exponential of a number."""
        if isinstance(other, (int, float, Tensor)):
            return self + -other
        raise ValueError(f"Unsupported type: {type(other)}")

    def log_density(self, value: Tensor) -> Tensor:
        """The logarithm of the factor at vectors ``(..., n)``."""
        quadratic = self.info_vec - 0.5 * (self.precision @ value.unsqueeze(-1)).squeeze(-1)
        return (value * quadratic).sum(-1) + self.log_normalizer

    def rsample(self, sample_shape: Sequence[int] = (), noise: Tensor | None = None) -> Tensor:
        """Draws from the normalised factor, differentiable.

        Args:
            noise: what to use for draws from the standard normal distribution, as many as the result has entries.
        """
        shape = Size((*sample_shape, *self.batch_shape, self.dim(), 1))
        if noise is None:
            noise = torch.randn(shape, dtype=self.info_vec.dtype, device=self.info_vec.device)
        factor = safe_cholesky(self.precision)
        # With precision L L', the mean is L'^-1 L^-1 info, and L'^-1 spreads the noise.
        white = triangular_solve(self.info_vec.unsqueeze(-1), factor) + noise.reshape(shape)
        return triangular_solve(white, factor, transpose=True).squeeze(-1)

    def condition(self, value: Tensor) -> Gaussian:
        """The factor of the first entries, the last ones being ``value``: ``log_density`` of both is that of the first."""
        assert isinstance(value, Tensor)
        n = self.dim() - value.shape[-1]
        assert n >= 0
        cross = matvecmul(self.precision[..., :n, n:], value)
        known = Gaussian(self.log_normalizer, self.info_vec[..., n:], self.precision[..., n:, n:])
        return Gaussian(known.log_density(value), self.info_vec[..., :n] - cross, self.precision[..., :n, :n])

    def left_condition(self, value: Tensor) -> Gaussian:
        """The factor of the last entries, the first ones being ``value``."""
        assert isinstance(value, Tensor)
        left = value.shape[-1]
        assert left <= self.dim()
        order = torch.arange(self.dim(), device=self.info_vec.device).roll(-left)
        return self.event_permute(order).condition(value)

    def marginalize(self, left: int = 0, right: int = 0) -> Gaussian:
        """The factor integrated over the first ``left`` and the last ``right`` entries.

        The precision of these needs an inverse.
        """
        if right:
            order = torch.arange(self.dim(), device=self.info_vec.device).roll(right)
            return self.event_permute(order).marginalize(left=left + right)
        if left == 0:
            return self
        factor = safe_cholesky(self.precision[..., :left, :left])
        cross = triangular_solve(self.precision[..., :left, left:], factor)
        white = triangular_solve(self.info_vec[..., :left].unsqueeze(-1), factor)
        total = 0.5 * left * LOG_2PI + 0.5 * white.square().sum((-2, -1)) - log_diagonal(factor)
        return Gaussian(
            self.log_normalizer + total,
            self.info_vec[..., left:] - matmul(cross.mT, white).squeeze(-1),
            self.precision[..., left:, left:] - matmul(cross.mT, cross),
        )

    def event_logsumexp(self) -> Tensor:
        """The logarithm of the integral over all entries."""
        return self.marginalize(left=self.dim()).log_normalizer


def log_diagonal(factor: Tensor) -> Tensor:
    """The sum of the logarithms of the diagonals: half a log determinant."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def mvn_to_gaussian(mvn: Any) -> Gaussian:
    """The factor that is the density of a ``MultivariateNormal`` or of an ``Independent`` ``Normal``."""
    check_normal(mvn)
    if isinstance(mvn, torch.distributions.Independent):
        base: Any = mvn.base_dist
        loc, deviations = base.loc, base.scale
        precision = deviations.pow(-2).diag_embed()
        info_vec = loc * deviations.pow(-2)
    else:
        loc, precision = mvn.loc, mvn.precision_matrix
        deviations = mvn.scale_tril.diagonal(dim1=-2, dim2=-1)
        info_vec = matvecmul(precision, loc)
    at_zero = -0.5 * (info_vec * loc).sum(-1) - deviations.log().sum(-1) - 0.5 * loc.shape[-1] * LOG_2PI
    return Gaussian(at_zero, info_vec, precision)


def check_normal(mvn: object) -> None:
    """That a distribution is one of the two kinds of normal distribution of vectors."""
    diagonal = isinstance(mvn, torch.distributions.Independent) and isinstance(
        mvn.base_dist, torch.distributions.Normal
    )
    assert diagonal or isinstance(mvn, torch.distributions.MultivariateNormal)


def matrix_and_gaussian_to_gaussian(matrix: Tensor, y_gaussian: Gaussian) -> Gaussian:
    """The factor over ``(x, y)`` that ``y_gaussian`` is over ``y - x @ matrix``."""
    # The map from (x, y) to the difference, by which info and precision are pulled back.
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    pull = torch.cat([-matrix, eye.expand(*matrix.shape[:-2], *eye.shape)], -2)
    precision = matmul(matmul(pull, y_gaussian.precision), pull.mT)
    return Gaussian(y_gaussian.log_normalizer, matvecmul(pull, y_gaussian.info_vec), precision)
