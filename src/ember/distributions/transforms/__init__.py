"""Transforms: torch's, those that Ember's constraints need, and the registries from constraints to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from torch.distributions.transforms import AbsTransform as AbsTransform
from torch.distributions.transforms import AffineTransform as AffineTransform
from torch.distributions.transforms import CatTransform as CatTransform
from torch.distributions.transforms import ComposeTransform as ComposeTransform
from torch.distributions.transforms import CorrCholeskyTransform as CorrCholeskyTransform
from torch.distributions.transforms import CumulativeDistributionTransform as CumulativeDistributionTransform
from torch.distributions.transforms import ExpTransform as ExpTransform
from torch.distributions.transforms import IndependentTransform as IndependentTransform
from torch.distributions.transforms import LowerCholeskyTransform as LowerCholeskyTransform
from torch.distributions.transforms import PositiveDefiniteTransform as PositiveDefiniteTransform
from torch.distributions.transforms import PowerTransform as PowerTransform
from torch.distributions.transforms import ReshapeTransform as ReshapeTransform
from torch.distributions.transforms import SigmoidTransform as SigmoidTransform
from torch.distributions.transforms import SoftmaxTransform as SoftmaxTransform
from torch.distributions.transforms import SoftplusTransform as SoftplusTransform
from torch.distributions.transforms import StackTransform as StackTransform
from torch.distributions.transforms import StickBreakingTransform as StickBreakingTransform
from torch.distributions.transforms import TanhTransform as TanhTransform
from torch.distributions.transforms import Transform as Transform
from torch.distributions.transforms import identity_transform as identity_transform

from ember.distributions.not_yet import TRANSFORMS_NOT_YET
from ember.distributions.torch_transform import ComposeTransformModule as ComposeTransformModule
from ember.distributions.torch_transform import TransformModule as TransformModule
from ember.distributions.transform_state import clear_cache as clear_cache
from ember.distributions.transform_state import picklable as picklable
from ember.distributions.transforms.basic import ELUTransform as ELUTransform
from ember.distributions.transforms.basic import LeakyReLUTransform as LeakyReLUTransform
from ember.distributions.transforms.basic import elu as elu
from ember.distributions.transforms.basic import leaky_relu as leaky_relu
from ember.distributions.transforms.basic import tanh as tanh
from ember.distributions.transforms.cholesky import CholeskyTransform as CholeskyTransform
from ember.distributions.transforms.cholesky import CorrLCholeskyTransform as CorrLCholeskyTransform
from ember.distributions.transforms.cholesky import CorrMatrixCholeskyTransform as CorrMatrixCholeskyTransform
from ember.distributions.transforms.lower_cholesky_affine import LowerCholeskyAffine as LowerCholeskyAffine
from ember.distributions.transforms.normalize import Normalize as Normalize
from ember.distributions.transforms.ordered import OrderedTransform as OrderedTransform
from ember.distributions.transforms.ordered import SimplexToOrderedTransform as SimplexToOrderedTransform
from ember.distributions.transforms.permute import Permute as Permute
from ember.distributions.transforms.permute import permute as permute
from ember.distributions.transforms.power import PositivePowerTransform as PositivePowerTransform
from ember.distributions.transforms.registry import biject_to as biject_to
from ember.distributions.transforms.registry import transform_to as transform_to
from ember.distributions.transforms.softplus import (
    SoftplusLowerCholeskyTransform as SoftplusLowerCholeskyTransform,
)
from ember.distributions.transforms.unit_cholesky import (
    UnitLowerCholeskyTransform as UnitLowerCholeskyTransform,
)
from ember.distributions.transforms.unit_jacobian import DiscreteCosineTransform as DiscreteCosineTransform
from ember.distributions.transforms.unit_jacobian import HaarTransform as HaarTransform


def iterated(
    repeats: int, base_fn: Callable[..., Any], *args: object, **kwargs: object
) -> ComposeTransformModule:
    """A chain of ``repeats`` transforms, each made by ``base_fn(*args, **kwargs)``.

    >>> len(iterated(3, ExpTransform).parts)
    3
    """
    if not isinstance(repeats, int) or repeats < 1:
        raise AssertionError(f"iterated() expects a positive number of repeats, got {repeats!r}")
    return ComposeTransformModule([base_fn(*args, **kwargs) for _ in range(repeats)])


__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "CholeskyTransform",
    "ComposeTransform",
    "ComposeTransformModule",
    "CorrCholeskyTransform",
    "CorrLCholeskyTransform",
    "CorrMatrixCholeskyTransform",
    "CumulativeDistributionTransform",
    "DiscreteCosineTransform",
    "ELUTransform",
    "ExpTransform",
    "HaarTransform",
    "IndependentTransform",
    "LeakyReLUTransform",
    "LowerCholeskyAffine",
    "LowerCholeskyTransform",
    "Normalize",
    "OrderedTransform",
    "Permute",
    "PositiveDefiniteTransform",
    "PositivePowerTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SimplexToOrderedTransform",
    "SoftmaxTransform",
    "SoftplusLowerCholeskyTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "TransformModule",
    "UnitLowerCholeskyTransform",
    "biject_to",
    "clear_cache",
    "elu",
    "identity_transform",
    "iterated",
    "leaky_relu",
    "permute",
    "picklable",
    "tanh",
    "transform_to",
]


def __getattr__(name: str) -> NoReturn:
    if name in TRANSFORMS_NOT_YET:
        raise AttributeError(f"{__name__}.{name} is part of Pyro that Ember does not have yet")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
