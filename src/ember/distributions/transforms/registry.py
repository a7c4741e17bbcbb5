"""How the constraints that Ember adds are reached from unconstrained space.

The entries go into torch's registries under types of our own, so nothing changes for torch's constraints.
"""

from __future__ import annotations

from torch.distributions import biject_to as biject_to
from torch.distributions import transform_to as transform_to
from torch.distributions.transforms import (
    ComposeTransform,
    CorrCholeskyTransform,
    ExpTransform,
    SoftplusTransform,
    Transform,
)

from ember.distributions import constraints
from ember.distributions.transforms.cholesky import CorrMatrixCholeskyTransform
from ember.distributions.transforms.normalize import Normalize
from ember.distributions.transforms.ordered import OrderedTransform
from ember.distributions.transforms.softplus import SoftplusLowerCholeskyTransform
from ember.distributions.transforms.unit_cholesky import UnitLowerCholeskyTransform
from ember.distributions.transforms.zero_sum import ZeroSumTransform
from ember.distributions.typed_torch import register_biject_to, register_transform_to


@register_transform_to(constraints.sphere)
def _to_sphere(_: object) -> Transform:
    return Normalize()


@register_biject_to(constraints.corr_matrix)
@register_transform_to(constraints.corr_matrix)
def _to_corr_matrix(_: object) -> Transform:
    return ComposeTransform([CorrCholeskyTransform(), CorrMatrixCholeskyTransform().inv])


@register_biject_to(constraints.ordered_vector)
@register_transform_to(constraints.ordered_vector)
def _to_ordered_vector(_: object) -> Transform:
    return OrderedTransform()


@register_biject_to(constraints.positive_ordered_vector)
@register_transform_to(constraints.positive_ordered_vector)
def _to_positive_ordered_vector(_: object) -> Transform:
    return ComposeTransform([OrderedTransform(), ExpTransform()])


@register_biject_to(constraints.softplus_positive)
@register_transform_to(constraints.softplus_positive)
def _to_softplus_positive(_: object) -> Transform:
    return SoftplusTransform()


@register_transform_to(constraints.softplus_lower_cholesky)
def _to_softplus_lower_cholesky(_: object) -> Transform:
    return SoftplusLowerCholeskyTransform()


@register_transform_to(constraints.unit_lower_cholesky)
def _to_unit_lower_cholesky(_: object) -> Transform:
    return UnitLowerCholeskyTransform()


@register_biject_to(constraints.ZeroSum)
@register_transform_to(constraints.ZeroSum)
def _to_zero_sum(constraint: constraints.ZeroSum) -> Transform:
    return ZeroSumTransform(constraint.event_dim)
