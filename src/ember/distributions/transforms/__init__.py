"""Transforms: torch's, those that constraints need and the registries that find them, and flows with parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

from ember.distributions.torch_transform import ComposeTransformModule as ComposeTransformModule
from ember.distributions.torch_transform import TransformModule as TransformModule
from ember.distributions.transform_state import clear_cache as clear_cache
from ember.distributions.transform_state import picklable as picklable
from ember.distributions.transforms.affine_autoregressive import AffineAutoregressive as AffineAutoregressive
from ember.distributions.transforms.affine_autoregressive import (
    ConditionalAffineAutoregressive as ConditionalAffineAutoregressive,
)
from ember.distributions.transforms.affine_autoregressive import (
    affine_autoregressive as affine_autoregressive,
)
from ember.distributions.transforms.affine_autoregressive import (
    conditional_affine_autoregressive as conditional_affine_autoregressive,
)
from ember.distributions.transforms.affine_coupling import AffineCoupling as AffineCoupling
from ember.distributions.transforms.affine_coupling import (
    ConditionalAffineCoupling as ConditionalAffineCoupling,
)
from ember.distributions.transforms.affine_coupling import affine_coupling as affine_coupling
from ember.distributions.transforms.affine_coupling import (
    conditional_affine_coupling as conditional_affine_coupling,
)
from ember.distributions.transforms.basic import ELUTransform as ELUTransform
from ember.distributions.transforms.basic import LeakyReLUTransform as LeakyReLUTransform
from ember.distributions.transforms.basic import elu as elu
from ember.distributions.transforms.basic import leaky_relu as leaky_relu
from ember.distributions.transforms.basic import tanh as tanh
from ember.distributions.transforms.batchnorm import BatchNorm as BatchNorm
from ember.distributions.transforms.batchnorm import batchnorm as batchnorm
from ember.distributions.transforms.block_autoregressive import BlockAutoregressive as BlockAutoregressive
from ember.distributions.transforms.block_autoregressive import block_autoregressive as block_autoregressive
from ember.distributions.transforms.cholesky import CholeskyTransform as CholeskyTransform
from ember.distributions.transforms.cholesky import CorrLCholeskyTransform as CorrLCholeskyTransform
from ember.distributions.transforms.cholesky import CorrMatrixCholeskyTransform as CorrMatrixCholeskyTransform
from ember.distributions.transforms.generalized_channel_permute import (
    ConditionalGeneralizedChannelPermute as ConditionalGeneralizedChannelPermute,
)
from ember.distributions.transforms.generalized_channel_permute import (
    GeneralizedChannelPermute as GeneralizedChannelPermute,
)
from ember.distributions.transforms.generalized_channel_permute import (
    conditional_generalized_channel_permute as conditional_generalized_channel_permute,
)
from ember.distributions.transforms.generalized_channel_permute import (
    generalized_channel_permute as generalized_channel_permute,
)
from ember.distributions.transforms.householder import ConditionalHouseholder as ConditionalHouseholder
from ember.distributions.transforms.householder import Householder as Householder
from ember.distributions.transforms.householder import conditional_householder as conditional_householder
from ember.distributions.transforms.householder import householder as householder
from ember.distributions.transforms.lower_cholesky_affine import LowerCholeskyAffine as LowerCholeskyAffine
from ember.distributions.transforms.matrix_exponential import (
    ConditionalMatrixExponential as ConditionalMatrixExponential,
)
from ember.distributions.transforms.matrix_exponential import MatrixExponential as MatrixExponential
from ember.distributions.transforms.matrix_exponential import (
    conditional_matrix_exponential as conditional_matrix_exponential,
)
from ember.distributions.transforms.matrix_exponential import matrix_exponential as matrix_exponential
from ember.distributions.transforms.neural_autoregressive import (
    ConditionalNeuralAutoregressive as ConditionalNeuralAutoregressive,
)
from ember.distributions.transforms.neural_autoregressive import NeuralAutoregressive as NeuralAutoregressive
from ember.distributions.transforms.neural_autoregressive import (
    conditional_neural_autoregressive as conditional_neural_autoregressive,
)
from ember.distributions.transforms.neural_autoregressive import (
    neural_autoregressive as neural_autoregressive,
)
from ember.distributions.transforms.normalize import Normalize as Normalize
from ember.distributions.transforms.ordered import OrderedTransform as OrderedTransform
from ember.distributions.transforms.ordered import SimplexToOrderedTransform as SimplexToOrderedTransform
from ember.distributions.transforms.permute import Permute as Permute
from ember.distributions.transforms.permute import permute as permute
from ember.distributions.transforms.planar import ConditionalPlanar as ConditionalPlanar
from ember.distributions.transforms.planar import Planar as Planar
from ember.distributions.transforms.planar import conditional_planar as conditional_planar
from ember.distributions.transforms.planar import planar as planar
from ember.distributions.transforms.polynomial import Polynomial as Polynomial
from ember.distributions.transforms.polynomial import polynomial as polynomial
from ember.distributions.transforms.power import PositivePowerTransform as PositivePowerTransform
from ember.distributions.transforms.radial import ConditionalRadial as ConditionalRadial
from ember.distributions.transforms.radial import Radial as Radial
from ember.distributions.transforms.radial import conditional_radial as conditional_radial
from ember.distributions.transforms.radial import radial as radial
from ember.distributions.transforms.registry import biject_to as biject_to
from ember.distributions.transforms.registry import transform_to as transform_to
from ember.distributions.transforms.softplus import (
    SoftplusLowerCholeskyTransform as SoftplusLowerCholeskyTransform,
)
from ember.distributions.transforms.spline import ConditionalSpline as ConditionalSpline
from ember.distributions.transforms.spline import Spline as Spline
from ember.distributions.transforms.spline import conditional_spline as conditional_spline
from ember.distributions.transforms.spline import spline as spline
from ember.distributions.transforms.spline_autoregressive import (
    ConditionalSplineAutoregressive as ConditionalSplineAutoregressive,
)
from ember.distributions.transforms.spline_autoregressive import SplineAutoregressive as SplineAutoregressive
from ember.distributions.transforms.spline_autoregressive import (
    conditional_spline_autoregressive as conditional_spline_autoregressive,
)
from ember.distributions.transforms.spline_autoregressive import (
    spline_autoregressive as spline_autoregressive,
)
from ember.distributions.transforms.spline_coupling import SplineCoupling as SplineCoupling
from ember.distributions.transforms.spline_coupling import spline_coupling as spline_coupling
from ember.distributions.transforms.sylvester import Sylvester as Sylvester
from ember.distributions.transforms.sylvester import sylvester as sylvester
from ember.distributions.transforms.unit_cholesky import (
    UnitLowerCholeskyTransform as UnitLowerCholeskyTransform,
)
from ember.distributions.transforms.unit_jacobian import DiscreteCosineTransform as DiscreteCosineTransform
from ember.distributions.transforms.unit_jacobian import HaarTransform as HaarTransform


def iterated(
    repeats: int, base_fn: Callable[..., Any], *args: object, **kwargs: object
) -> ComposeTransformModule:
    """Return a chain of ``repeats`` transforms, each made by ``base_fn(*args, **kwargs)``.

    >>> from ember.distributions.transforms import ExpTransform, iterated
    >>> len(iterated(3, ExpTransform).parts)
    3
    """
    if not isinstance(repeats, int) or repeats < 1:
        raise AssertionError(f"iterated() expects a positive number of repeats, got {repeats!r}")
    return ComposeTransformModule([base_fn(*args, **kwargs) for _ in range(repeats)])


__all__ = [
    "AbsTransform",
    "AffineAutoregressive",
    "AffineCoupling",
    "AffineTransform",
    "BatchNorm",
    "BlockAutoregressive",
    "CatTransform",
    "CholeskyTransform",
    "ComposeTransform",
    "ComposeTransformModule",
    "ConditionalAffineAutoregressive",
    "ConditionalAffineCoupling",
    "ConditionalGeneralizedChannelPermute",
    "ConditionalHouseholder",
    "ConditionalMatrixExponential",
    "ConditionalNeuralAutoregressive",
    "ConditionalPlanar",
    "ConditionalRadial",
    "ConditionalSpline",
    "ConditionalSplineAutoregressive",
    "CorrCholeskyTransform",
    "CorrLCholeskyTransform",
    "CorrMatrixCholeskyTransform",
    "CumulativeDistributionTransform",
    "DiscreteCosineTransform",
    "ELUTransform",
    "ExpTransform",
    "GeneralizedChannelPermute",
    "HaarTransform",
    "Householder",
    "IndependentTransform",
    "LeakyReLUTransform",
    "LowerCholeskyAffine",
    "LowerCholeskyTransform",
    "MatrixExponential",
    "NeuralAutoregressive",
    "Normalize",
    "OrderedTransform",
    "Permute",
    "Planar",
    "Polynomial",
    "PositiveDefiniteTransform",
    "PositivePowerTransform",
    "PowerTransform",
    "Radial",
    "ReshapeTransform",
    "SigmoidTransform",
    "SimplexToOrderedTransform",
    "SoftmaxTransform",
    "SoftplusLowerCholeskyTransform",
    "SoftplusTransform",
    "Spline",
    "SplineAutoregressive",
    "SplineCoupling",
    "StackTransform",
    "StickBreakingTransform",
    "Sylvester",
    "TanhTransform",
    "Transform",
    "TransformModule",
    "UnitLowerCholeskyTransform",
    "affine_autoregressive",
    "affine_coupling",
    "batchnorm",
    "biject_to",
    "block_autoregressive",
    "clear_cache",
    "conditional_affine_autoregressive",
    "conditional_affine_coupling",
    "conditional_generalized_channel_permute",
    "conditional_householder",
    "conditional_matrix_exponential",
    "conditional_neural_autoregressive",
    "conditional_planar",
    "conditional_radial",
    "conditional_spline",
    "conditional_spline_autoregressive",
    "elu",
    "generalized_channel_permute",
    "householder",
    "identity_transform",
    "iterated",
    "leaky_relu",
    "matrix_exponential",
    "neural_autoregressive",
    "permute",
    "picklable",
    "planar",
    "polynomial",
    "radial",
    "spline",
    "spline_autoregressive",
    "spline_coupling",
    "sylvester",
    "tanh",
    "transform_to",
]
