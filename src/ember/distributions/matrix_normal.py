"""Normal matrices, and normal arrays whose sums are zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution


class MatrixNormal(TorchDistribution):
    """A normal matrix whose covariance is the product of one between rows and one between columns (Dawid, 1981).

    Args:
        loc: the mean, ``batch_shape + (n, p)``.
        scale_tril_row: Cholesky factor of the covariance between rows, ``batch_shape + (n, n)``.
        scale_tril_column: Cholesky factor of the covariance between columns, ``batch_shape + (p, p)``.

    Shapes:
        event: ``(n, p)``.

    Raises:
        ValueError: if a factor does not fit ``loc``.

    >>> import torch
    >>> from ember.distributions import MatrixNormal
    >>> MatrixNormal(torch.zeros(2, 3), torch.eye(2), torch.eye(3)).log_prob(torch.zeros(2, 3))
    tensor(-5.5136)
    """

    _any: Any = constraints
    arg_constraints: dict[str, Any] = {
        "loc": _any.independent(constraints.real, 2),
        "scale_tril_row": constraints.lower_cholesky,
        "scale_tril_column": constraints.lower_cholesky,
    }
    support: Any = _any.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        scale_tril_row: Tensor,
        scale_tril_column: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        n, p = loc.shape[-2:]
        for name, factor, size in (("row", scale_tril_row, n), ("column", scale_tril_column, p)):
            if factor.shape[-2:] != (size, size):
                raise ValueError(f"scale_tril_{name} must end in {(size, size)}, got {tuple(factor.shape)}")
        batch_shape = Size(
            broadcast_shape(loc.shape[:-2], scale_tril_row.shape[:-2], scale_tril_column.shape[:-2])
        )
        self.loc = loc.expand(batch_shape + (n, p))
        self.scale_tril_row = scale_tril_row.expand(batch_shape + (n, n))
        self.scale_tril_column = scale_tril_column.expand(batch_shape + (p, p))
        super().__init__(batch_shape, Size((n, p)), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(MatrixNormal, _instance)
        batch_shape = Size(batch_shape)
        for name in ("loc", "scale_tril_row", "scale_tril_column"):
            value = getattr(self, name)
            setattr(new, name, value.expand(batch_shape + value.shape[-2:]))
        return self._completed(new, batch_shape, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-|A^-1 (x - loc) B^-T|^2 / 2`` and the log determinants."""
        if self._validate_args:
            self._validate_sample(value)
        rows = torch.linalg.solve_triangular(self.scale_tril_row, value - self.loc, upper=False)
        both = torch.linalg.solve_triangular(self.scale_tril_column, rows.mT, upper=False)
        n, p = self.event_shape
        log_det = p * self.scale_tril_row.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det = log_det + n * self.scale_tril_column.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        result: Tensor = -0.5 * both.square().sum((-2, -1)) - log_det - 0.5 * n * p * math.log(2 * math.pi)
        return result

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + A e B^T``"""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale_tril_row @ noise @ self.scale_tril_column.mT

    @property
    def mean(self) -> Tensor:
        """``loc``"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Products of the variances of rows and columns."""
        rows = self.scale_tril_row.square().sum(-1)
        return rows.unsqueeze(-1) * self.scale_tril_column.square().sum(-1).unsqueeze(-2)


class ZeroSumNormal(TorchDistribution):
    """A normal array whose sums along each of its dims are zero.

    It suits effects of groups, beside a mean of their own.

    Args:
        scale: the standard deviation before the sums are taken out.
        event_shape: of the array; sums along all of its dims are zero.

    Raises:
        ValueError: for a dim of fewer than two entries.

    Shapes:
        event: ``event_shape``.

    >>> from ember.distributions import ZeroSumNormal
    >>> ZeroSumNormal(1.0, (3,)).sample().sum().abs() < 1e-6
    tensor(True)
    """

    arg_constraints: dict[str, Any] = {"scale": constraints.positive}
    has_rsample = True

    def __init__(
        self, scale: Tensor | float, event_shape: Sequence[int], *, validate_args: bool | None = None
    ) -> None:
        event = Size(event_shape)
        if not event or min(event) < 2:
            raise ValueError(
                f"ZeroSumNormal needs dims of at least two entries, got event_shape={tuple(event)}"
            )
        self.scale = torch.as_tensor(scale)
        super().__init__(self.scale.shape, event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Constraint:
        """Arrays whose sums are zero."""
        return constraints.zero_sum(self.event_dim)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the scale."""
        new = self._get_checked_instance(ZeroSumNormal, _instance)
        new.scale = self.scale.expand(Size(batch_shape))
        return self._completed(new, Size(batch_shape), self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the normal's log density on the subspace, which has one dim less along each dim."""
        if self._validate_args:
            self._validate_sample(value)
        dims = math.prod(size - 1 for size in self.event_shape)
        square = value.flatten(-self.event_dim).square().sum(-1)
        return -0.5 * square / self.scale.square() - dims * (self.scale.log() + 0.5 * math.log(2 * math.pi))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Normal numbers, less their means along each dim."""
        shape = self._extended_shape(Size(sample_shape))
        draws = torch.randn(shape, dtype=self.scale.dtype, device=self.scale.device)
        for dim in range(-self.event_dim, 0):
            draws = draws - draws.mean(dim, keepdim=True)
        return draws * self.scale.reshape(self.scale.shape + (1,) * self.event_dim)

    @property
    def mean(self) -> Tensor:
        """Zero."""
        return self.scale.new_zeros(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """``scale^2`` times ``1 - 1 / n`` for each dim."""
        share = math.prod(1 - 1 / size for size in self.event_shape)
        variance = self.scale.square() * share
        return variance.reshape(variance.shape + (1,) * self.event_dim).expand(
            self.batch_shape + self.event_shape
        )
