"""torch's distributions over vectors, and over Cholesky factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import WrappedDistribution
from ember.distributions.validation import VALUE_CHECKS

_SEVEN_DIGITS = 1e-6
"""By how much the length of a row may differ from 1."""


class LKJCholesky(torch.distributions.LKJCholesky, WrappedDistribution):
    """Cholesky factors of correlation matrices (Lewandowski, Kurowicka and Joe, 2009).

    Values may be rounded to seven digits, as they are written to files.

    Args:
        dim: the number of rows.
        concentration: positive. With 1 all correlation matrices are equally likely; above 1 those near the
            identity are more so.

    >>> from ember.distributions import LKJCholesky
    >>> LKJCholesky(3).event_shape
    torch.Size([3, 3])
    """

    def _validate_sample(self, value: Tensor) -> None:
        if VALUE_CHECKS.on and isinstance(value, Tensor):
            length = torch.linalg.vector_norm(value.detach(), dim=-1, keepdim=True)
            value = torch.where((length - 1).abs() <= _SEVEN_DIGITS, value.detach() / length, value)
        super()._validate_sample(value)


class LowRankMultivariateNormal(torch.distributions.LowRankMultivariateNormal, WrappedDistribution):
    """Normal vector with covariance ``cov_factor @ cov_factor.T + diag(cov_diag)``.

    Args:
        loc: the mean, ``(*batch, D)``.
        cov_factor: ``(*batch, D, rank)``.
        cov_diag: positive, ``(*batch, D)``.

    >>> import torch
    >>> from ember.distributions import LowRankMultivariateNormal
    >>> LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3)).event_shape
    torch.Size([3])
    """

    @staticmethod
    def infer_shapes(  # type: ignore[override]
        loc: tuple[int, ...], cov_factor: tuple[int, ...], cov_diag: tuple[int, ...]
    ) -> tuple[Any, Any]:
        """Return the shapes; the rightmost dim of ``loc`` is the event."""
        return broadcast_shape(loc[:-1], cov_factor[:-2], cov_diag[:-1]), loc[-1:]


class MultivariateNormal(torch.distributions.MultivariateNormal, WrappedDistribution):
    """Normal vector with a full covariance, given as such, by its inverse or by its Cholesky factor.

    Args:
        loc: the mean, ``(*batch, D)``.
        covariance_matrix: the covariance, ``(*batch, D, D)``.
        precision_matrix: its inverse.
        scale_tril: its lower Cholesky factor. Give one of the three.

    >>> import torch
    >>> from ember.distributions import MultivariateNormal
    >>> MultivariateNormal(torch.zeros(2), scale_tril=torch.eye(2)).log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    @staticmethod
    def infer_shapes(  # type: ignore[override]
        loc: tuple[int, ...],
        covariance_matrix: tuple[int, ...] | None = None,
        precision_matrix: tuple[int, ...] | None = None,
        scale_tril: tuple[int, ...] | None = None,
    ) -> tuple[Any, Any]:
        """Return the shapes; the rightmost dim of ``loc`` is the event."""
        batch_shape = loc[:-1]
        for matrix in (covariance_matrix, precision_matrix, scale_tril):
            if matrix is not None:
                batch_shape = broadcast_shape(batch_shape, matrix[:-2])
        return batch_shape, loc[-1:]
