"""Cholesky factors of correlation matrices, without boolean masks, which cannot be captured."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import ComposeTransform, CorrCholeskyTransform, IndependentTransform
from torch.nn.functional import softplus

from ember.distributions.transform_state import CopyableTransform


class IndexedCorrCholesky(CopyableTransform, CorrCholeskyTransform):
    """:class:`torch.distributions.transforms.CorrCholeskyTransform`, computed by indexing.

    ``y_ij = t_ij sqrt(prod_{k < j} (1 - t_ik^2))`` below the diagonal, with ``t = tanh(x)`` row by row (Stan reference manual,
    "Cholesky factors of correlation matrices").

    Shapes:
        x: ``batch_shape + (n (n - 1) / 2,)``.
        y: ``batch_shape + (n, n)``.

    >>> y = IndexedCorrCholesky()(torch.tensor([0.3, -1.0, 2.0]))
    >>> (y @ y.T).diagonal()
    tensor([1., 1., 1.])
    """

    def _call(self, x: Tensor) -> Tensor:
        n = _size(x.shape[-1])
        row, column = _tril(n, x)
        position = torch.full((n, n), len(row), device=x.device)
        position[row, column] = torch.arange(len(row), device=x.device)
        below = torch.cat([x.tanh(), x.new_zeros(x.shape[:-1] + (1,))], -1)[..., position]
        log_rest = torch.cat([_log_rest(x), x.new_zeros(x.shape[:-1] + (1,))], -1)[..., position]
        before = log_rest.cumsum(-1) - log_rest
        y: Tensor = (below + torch.eye(n, dtype=x.dtype, device=x.device)) * (before / 2).exp()
        return y.tril()

    def _inverse(self, y: Tensor) -> Tensor:
        squares = y.square()
        # What is left of the row's unit length before each entry.
        rest = 1 - (squares.cumsum(-1) - squares)
        row, column = _tril(y.shape[-1], y)
        t = (y / rest.clamp(min=torch.finfo(y.dtype).tiny).sqrt())[..., row, column]
        return (t.log1p() - (-t).log1p()) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor, intermediates: object = None) -> Tensor:
        """Each ``log(1 - t_ik^2)`` counts once for its own entry, and half for each entry between it and the diagonal."""
        row, column = _tril(_size(x.shape[-1]), x)
        return (_log_rest(x) * (1 + (row - 1 - column) / 2)).sum(-1)

    def with_cache(self, cache_size: int = 1) -> IndexedCorrCholesky:
        """The same transform with another size of cache."""
        return self if self._cache_size == cache_size else IndexedCorrCholesky(cache_size=cache_size)


def _size(entries: int) -> int:
    return round((1 + math.sqrt(1 + 8 * entries)) / 2)


def _tril(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    row, column = torch.tril_indices(n, n, -1, device=like.device)
    return row, column


def _log_rest(x: Tensor) -> Tensor:
    """``log(1 - tanh(x)^2)``."""
    rest: Tensor = 2 * (math.log(2) - x - softplus(-2 * x))
    return rest


def indexed(transform: object) -> Any:
    """A transform with :class:`IndexedCorrCholesky` in place of torch's, wherever that is part of it.

    >>> indexed(CorrCholeskyTransform())
    IndexedCorrCholesky()
    """
    if type(transform) is CorrCholeskyTransform:
        return IndexedCorrCholesky(cache_size=transform._cache_size)
    if type(transform) is IndependentTransform:
        base = indexed(transform.base_transform)
        same = base is transform.base_transform
        return transform if same else IndependentTransform(base, transform.reinterpreted_batch_ndims)
    if type(transform) is ComposeTransform:
        parts = [indexed(part) for part in transform.parts]
        same = all(a is b for a, b in zip(parts, transform.parts, strict=True))
        return transform if same else ComposeTransform(parts)
    return transform
