"""Correlation matrices."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.multivariate import LKJCholesky
from ember.distributions.transformed import TransformedDistribution
from ember.distributions.transforms.cholesky import CorrMatrixCholeskyTransform


class LKJCorrCholesky(LKJCholesky):
    """Deprecated name of :class:`~ember.distributions.LKJCholesky`.

    Args:
        d: the number of rows.
        eta: as ``concentration`` of :class:`LKJCholesky`.
    """

    def __init__(self, d: int, eta: Any, validate_args: bool | None = None) -> None:
        warnings.warn(
            "class LKJCorrCholesky(d, eta, validate_args=None) is deprecated "
            "in favor of LKJCholesky(dim, concentration, validate_args=None).",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(d, concentration=eta, validate_args=validate_args)


class LKJ(TransformedDistribution):
    """Correlation matrices with a density proportional to ``det(M) ** (concentration - 1)``.

    Args:
        dim: the size of the matrices.
        concentration: 1 for the uniform density, more for weaker correlations.

    References:
        D. Lewandowski, D. Kurowicka, H. Joe (2009), "Generating random correlation matrices based on vines
        and extended onion method".

    >>> import torch
    >>> from ember.distributions import LKJ
    >>> LKJ(2, 1.0).log_prob(torch.eye(2)).exp()
    tensor(0.5000)
    """

    arg_constraints: dict[str, Any] = {"concentration": constraints.positive}
    support = constraints.corr_matrix
    base_dist: Any

    def __init__(
        self, dim: int, concentration: Tensor | float = 1.0, validate_args: bool | None = None
    ) -> None:
        base = LKJCholesky(dim, concentration, validate_args=validate_args)
        self.dim, self.concentration = base.dim, base.concentration
        super().__init__(base, CorrMatrixCholeskyTransform().inv, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the concentration."""
        new = self._get_checked_instance(LKJ, _instance)
        batch_shape = Size(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.transforms = self.transforms
        new.dim, new.concentration = self.dim, new.base_dist.concentration
        return self._completed(new, batch_shape, self.event_shape)

    @property
    def mean(self) -> Tensor:
        """The identity."""
        eye = torch.eye(self.dim, dtype=self.concentration.dtype, device=self.concentration.device)
        return eye.expand(self.batch_shape + (self.dim, self.dim))
