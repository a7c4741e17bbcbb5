"""Matrices to and from their Cholesky factors."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import CorrCholeskyTransform as CorrCholeskyTransform

from ember.distributions import constraints
from ember.distributions.transform_state import CopyableTransform


class CholeskyTransform(CopyableTransform):
    """A positive definite matrix to its lower Cholesky factor.

    Shapes:
        x, y: ``batch_shape + (n, n)``.

    >>> import torch
    >>> from ember.distributions.transforms import CholeskyTransform
    >>> CholeskyTransform()(torch.tensor([[4.0]]))
    tensor([[2.]])
    """

    bijective = True
    domain: Any = constraints.positive_definite
    codomain: Any = constraints.lower_cholesky

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def _call(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.cholesky(x)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        return y @ y.mT

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``-n log 2 - sum_i (n - i) log y_ii``, with ``i`` from 0 (Edelman, 2005, "Jacobians of matrix
        transforms")."""
        n = x.shape[-1]
        powers = torch.arange(n, 0, -1, dtype=x.dtype, device=x.device)
        return -n * math.log(2) - (powers * y.diagonal(dim1=-2, dim2=-1).log()).sum(-1)


class CorrMatrixCholeskyTransform(CholeskyTransform):
    """A correlation matrix to its lower Cholesky factor."""

    domain = constraints.corr_matrix
    codomain = constraints.corr_cholesky

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``-sum_i (n - 1 - i) log y_ii``, with ``i`` from 0: only entries below the diagonal are free."""
        n = x.shape[-1]
        powers = torch.arange(n - 1, -1, -1, dtype=x.dtype, device=x.device)
        return -(powers * y.diagonal(dim1=-2, dim2=-1).log()).sum(-1)


class CorrLCholeskyTransform(CorrCholeskyTransform):
    """Deprecated name of :class:`torch.distributions.transforms.CorrCholeskyTransform`."""

    def __init__(self, cache_size: int = 0) -> None:
        warnings.warn(
            "class CorrLCholeskyTransform is deprecated in favor of CorrCholeskyTransform.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(cache_size=cache_size)
