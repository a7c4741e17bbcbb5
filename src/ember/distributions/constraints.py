"""torch's constraints and those that Pyro adds.

The added ones are singletons: pickling and copying them gives back the same object.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint as Constraint
from torch.distributions.constraints import MixtureSameFamilyConstraint as MixtureSameFamilyConstraint
from torch.distributions.constraints import boolean as boolean
from torch.distributions.constraints import cat as cat
from torch.distributions.constraints import corr_cholesky as corr_cholesky
from torch.distributions.constraints import dependent as dependent
from torch.distributions.constraints import dependent_property as dependent_property
from torch.distributions.constraints import greater_than as greater_than
from torch.distributions.constraints import greater_than_eq as greater_than_eq
from torch.distributions.constraints import half_open_interval as half_open_interval
from torch.distributions.constraints import independent as independent
from torch.distributions.constraints import integer_interval as integer_interval
from torch.distributions.constraints import interval as interval
from torch.distributions.constraints import is_dependent as is_dependent
from torch.distributions.constraints import less_than as less_than
from torch.distributions.constraints import lower_cholesky as lower_cholesky
from torch.distributions.constraints import lower_triangular as lower_triangular
from torch.distributions.constraints import multinomial as multinomial
from torch.distributions.constraints import nonnegative as nonnegative
from torch.distributions.constraints import nonnegative_integer as nonnegative_integer
from torch.distributions.constraints import one_hot as one_hot
from torch.distributions.constraints import positive as positive
from torch.distributions.constraints import positive_definite as positive_definite
from torch.distributions.constraints import positive_integer as positive_integer
from torch.distributions.constraints import positive_semidefinite as positive_semidefinite
from torch.distributions.constraints import real as real
from torch.distributions.constraints import real_vector as real_vector
from torch.distributions.constraints import simplex as simplex
from torch.distributions.constraints import square as square
from torch.distributions.constraints import stack as stack
from torch.distributions.constraints import symmetric as symmetric
from torch.distributions.constraints import unit_interval as unit_interval

from ember.distributions import typed_torch


class _Singleton:
    """Pickles as a reference to the module's attribute of this name."""

    _name: str

    def __reduce__(self) -> str:
        return self._name


class _Integer(_Singleton, Constraint):
    """Whole numbers, of either sign."""

    _name = "integer"
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        valid: Tensor = value % 1 == 0
        return valid

    def __repr__(self) -> str:
        return "Integer"


class _Sphere(_Singleton, Constraint):
    """Vectors of Euclidean norm 1, up to a few roundings per coordinate."""

    _name = "sphere"
    event_dim = 1
    reltol = 10.0

    def check(self, value: Tensor) -> Tensor:
        tolerance = self.reltol * torch.finfo(value.dtype).eps * value.size(-1) ** 0.5
        valid: Tensor = (torch.linalg.vector_norm(value, dim=-1) - 1).abs() < tolerance
        return valid

    def __repr__(self) -> str:
        return "Sphere"


class _CorrMatrix(_Singleton, Constraint):
    """Positive definite matrices with a diagonal of ones."""

    _name = "corr_matrix"
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        # A diagonal entry is a sum of as many squares as there are columns.
        tolerance = max(1e-6, 10 * torch.finfo(value.dtype).eps * value.size(-1))
        ones = ((value.diagonal(dim1=-2, dim2=-1) - 1).abs() < tolerance).all(-1)
        valid: Tensor = typed_torch.positive_definite.check(value) & ones
        return valid


class _OrderedVector(_Singleton, Constraint):
    """Vectors with strictly increasing entries."""

    _name = "ordered_vector"
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        if value.dim() == 0:
            return torch.tensor(False, device=value.device)
        return (value[..., 1:] > value[..., :-1]).all(-1)


class _PositiveOrderedVector(_Singleton, Constraint):
    """Vectors with positive, strictly increasing entries."""

    _name = "positive_ordered_vector"
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ordered_vector.check(value) & (value > 0).all(-1)


class ZeroSum(Constraint):
    """Arrays whose sums along each of their last dims are zero, up to rounding.

    Args:
        event_dim: how many dims.
    """

    def __init__(self, event_dim: int = 1) -> None:
        self._event_dim = event_dim
        super().__init__()

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        """How many dims are those of one array."""
        return self._event_dim

    def check(self, value: Tensor) -> Tensor:
        size = value.abs().amax(tuple(range(-self._event_dim, 0)), keepdim=True).clamp_min(1.0)
        valid = torch.ones(
            value.shape[: value.dim() - self._event_dim], dtype=torch.bool, device=value.device
        )
        for dim in range(-self._event_dim, 0):
            tolerance = max(1e-6, 10 * torch.finfo(value.dtype).eps) * value.size(dim) * size
            small = value.sum(dim, keepdim=True).abs() < tolerance
            valid = valid & small.flatten(-self._event_dim).all(-1)
        return valid

    def __repr__(self) -> str:
        return f"ZeroSum({self._event_dim})"


class _SoftplusPositive(_Singleton, greater_than):
    """Positive numbers, reached by softplus instead of exp."""

    _name = "softplus_positive"

    def __init__(self) -> None:
        super().__init__(lower_bound=0.0)  # type: ignore[no-untyped-call]


class _SoftplusLowerCholesky(_Singleton, type(lower_cholesky)):  # type: ignore[misc]
    """Cholesky factors whose diagonal is reached by softplus instead of exp."""

    _name = "softplus_lower_cholesky"


class _UnitLowerCholesky(_Singleton, Constraint):
    """Lower triangular matrices with a diagonal of ones."""

    _name = "unit_lower_cholesky"
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        lower = (value.tril() == value).flatten(-2).all(-1)
        return lower & (value.diagonal(dim1=-2, dim2=-1) == 1).all(-1)


corr_matrix = _CorrMatrix()
integer = _Integer()
ordered_vector = _OrderedVector()
positive_ordered_vector = _PositiveOrderedVector()
softplus_lower_cholesky = _SoftplusLowerCholesky()
softplus_positive = _SoftplusPositive()
sphere = _Sphere()
unit_lower_cholesky = _UnitLowerCholesky()
zero_sum = ZeroSum
corr_cholesky_constraint: Any = corr_cholesky  #: an old name

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "corr_cholesky_constraint",
    "corr_matrix",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "ordered_vector",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_ordered_vector",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "softplus_lower_cholesky",
    "softplus_positive",
    "sphere",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
    "unit_lower_cholesky",
    "zero_sum",
]
