"""Distributions: torch's families with Pyro's interface, and those that Ember adds."""

from __future__ import annotations

from ember.distributions import constraints as constraints
from ember.distributions import kl as kl
from ember.distributions import transforms as transforms
from ember.distributions.affine_beta import AffineBeta as AffineBeta
from ember.distributions.areas import CAR as CAR
from ember.distributions.areas import ICAR as ICAR
from ember.distributions.censored import CensoredDistribution as CensoredDistribution
from ember.distributions.coalescent import CoalescentRateLikelihood as CoalescentRateLikelihood
from ember.distributions.coalescent import CoalescentTimes as CoalescentTimes
from ember.distributions.coalescent import CoalescentTimesWithRate as CoalescentTimesWithRate
from ember.distributions.compound import BetaBinomial as BetaBinomial
from ember.distributions.compound import DirichletMultinomial as DirichletMultinomial
from ember.distributions.compound import GammaPoisson as GammaPoisson
from ember.distributions.conditional import ConditionalDistribution as ConditionalDistribution
from ember.distributions.conditional import ConditionalTransform as ConditionalTransform
from ember.distributions.conditional import (
    ConditionalTransformedDistribution as ConditionalTransformedDistribution,
)
from ember.distributions.conditional import ConditionalTransformModule as ConditionalTransformModule
from ember.distributions.delta import Delta as Delta
from ember.distributions.diagonal_mixtures import GaussianScaleMixture as GaussianScaleMixture
from ember.distributions.diagonal_mixtures import MixtureOfDiagNormals as MixtureOfDiagNormals
from ember.distributions.diagonal_mixtures import (
    MixtureOfDiagNormalsSharedCovariance as MixtureOfDiagNormalsSharedCovariance,
)
from ember.distributions.discrete_uniform import DiscreteUniform as DiscreteUniform
from ember.distributions.distribution import Distribution as Distribution
from ember.distributions.empirical import Empirical as Empirical
from ember.distributions.extended import ExtendedBetaBinomial as ExtendedBetaBinomial
from ember.distributions.extended import ExtendedBinomial as ExtendedBinomial
from ember.distributions.folded import FoldedDistribution as FoldedDistribution
from ember.distributions.gamma_gaussian_hmm import GammaGaussianHMM as GammaGaussianHMM
from ember.distributions.gaussian_hmm import GaussianHMM as GaussianHMM
from ember.distributions.gaussian_mrf import GaussianMRF as GaussianMRF
from ember.distributions.grouped_normal_normal import GroupedNormalNormal as GroupedNormalNormal
from ember.distributions.hidden_markov import DiscreteHMM as DiscreteHMM
from ember.distributions.hurdle import HurdleDistribution as HurdleDistribution
from ember.distributions.improper_uniform import ImproperUniform as ImproperUniform
from ember.distributions.independent_hmm import IndependentHMM as IndependentHMM
from ember.distributions.laplace_family import AsymmetricLaplace as AsymmetricLaplace
from ember.distributions.laplace_family import Logistic as Logistic
from ember.distributions.laplace_family import SkewLogistic as SkewLogistic
from ember.distributions.laplace_family import SoftAsymmetricLaplace as SoftAsymmetricLaplace
from ember.distributions.laplace_family import SoftLaplace as SoftLaplace
from ember.distributions.linear_hmm import LinearHMM as LinearHMM
from ember.distributions.lkj import LKJ as LKJ
from ember.distributions.lkj import LKJCorrCholesky as LKJCorrCholesky
from ember.distributions.lognormal_negative_binomial import (
    LogNormalNegativeBinomial as LogNormalNegativeBinomial,
)
from ember.distributions.masked_mixture import MaskedMixture as MaskedMixture
from ember.distributions.matrix_normal import MatrixNormal as MatrixNormal
from ember.distributions.matrix_normal import ZeroSumNormal as ZeroSumNormal
from ember.distributions.mean_parameters import BetaProportion as BetaProportion
from ember.distributions.mean_parameters import NegativeBinomial2 as NegativeBinomial2
from ember.distributions.multivariate_student_t import MultivariateStudentT as MultivariateStudentT
from ember.distributions.nan_masked import NanMaskedMultivariateNormal as NanMaskedMultivariateNormal
from ember.distributions.nan_masked import NanMaskedNormal as NanMaskedNormal
from ember.distributions.one_one_matching import OneOneMatching as OneOneMatching
from ember.distributions.one_two_matching import OneTwoMatching as OneTwoMatching
from ember.distributions.ordered_logistic import OrderedLogistic as OrderedLogistic
from ember.distributions.pathwise_normal import AVFMultivariateNormal as AVFMultivariateNormal
from ember.distributions.pathwise_normal import OMTMultivariateNormal as OMTMultivariateNormal
from ember.distributions.polya_gamma import TruncatedPolyaGamma as TruncatedPolyaGamma
from ember.distributions.projected_normal import ProjectedNormal as ProjectedNormal
from ember.distributions.random_variable import RandomVariable as RandomVariable
from ember.distributions.rejector import Rejector as Rejector
from ember.distributions.relaxed_straight_through import (
    RelaxedBernoulliStraightThrough as RelaxedBernoulliStraightThrough,
)
from ember.distributions.relaxed_straight_through import (
    RelaxedOneHotCategoricalStraightThrough as RelaxedOneHotCategoricalStraightThrough,
)
from ember.distributions.sine_bivariate_von_mises import SineBivariateVonMises as SineBivariateVonMises
from ember.distributions.spanning_tree import SpanningTree as SpanningTree
from ember.distributions.spherical import SineSkewed as SineSkewed
from ember.distributions.spherical import VonMises3D as VonMises3D
from ember.distributions.stable import Stable as Stable
from ember.distributions.stable import StableWithLogProb as StableWithLogProb
from ember.distributions.torch import Bernoulli as Bernoulli
from ember.distributions.torch import Beta as Beta
from ember.distributions.torch import Binomial as Binomial
from ember.distributions.torch import Categorical as Categorical
from ember.distributions.torch import Cauchy as Cauchy
from ember.distributions.torch import Chi2 as Chi2
from ember.distributions.torch import ContinuousBernoulli as ContinuousBernoulli
from ember.distributions.torch import Dirichlet as Dirichlet
from ember.distributions.torch import Exponential as Exponential
from ember.distributions.torch import ExponentialFamily as ExponentialFamily
from ember.distributions.torch import FisherSnedecor as FisherSnedecor
from ember.distributions.torch import Gamma as Gamma
from ember.distributions.torch import GeneralizedPareto as GeneralizedPareto
from ember.distributions.torch import Geometric as Geometric
from ember.distributions.torch import Gumbel as Gumbel
from ember.distributions.torch import HalfCauchy as HalfCauchy
from ember.distributions.torch import HalfNormal as HalfNormal
from ember.distributions.torch import Independent as Independent
from ember.distributions.torch import InverseGamma as InverseGamma
from ember.distributions.torch import Kumaraswamy as Kumaraswamy
from ember.distributions.torch import Laplace as Laplace
from ember.distributions.torch import LKJCholesky as LKJCholesky
from ember.distributions.torch import LogisticNormal as LogisticNormal
from ember.distributions.torch import LogNormal as LogNormal
from ember.distributions.torch import LowRankMultivariateNormal as LowRankMultivariateNormal
from ember.distributions.torch import MixtureSameFamily as MixtureSameFamily
from ember.distributions.torch import Multinomial as Multinomial
from ember.distributions.torch import MultivariateNormal as MultivariateNormal
from ember.distributions.torch import NegativeBinomial as NegativeBinomial
from ember.distributions.torch import Normal as Normal
from ember.distributions.torch import OneHotCategorical as OneHotCategorical
from ember.distributions.torch import OneHotCategoricalStraightThrough as OneHotCategoricalStraightThrough
from ember.distributions.torch import Pareto as Pareto
from ember.distributions.torch import Poisson as Poisson
from ember.distributions.torch import RelaxedBernoulli as RelaxedBernoulli
from ember.distributions.torch import RelaxedOneHotCategorical as RelaxedOneHotCategorical
from ember.distributions.torch import StudentT as StudentT
from ember.distributions.torch import TransformedDistribution as TransformedDistribution
from ember.distributions.torch import Uniform as Uniform
from ember.distributions.torch import VonMises as VonMises
from ember.distributions.torch import Weibull as Weibull
from ember.distributions.torch import Wishart as Wishart
from ember.distributions.torch_distribution import ExpandedDistribution as ExpandedDistribution
from ember.distributions.torch_distribution import MaskedDistribution as MaskedDistribution
from ember.distributions.torch_distribution import TorchDistribution as TorchDistribution
from ember.distributions.torch_transform import ComposeTransformModule as ComposeTransformModule
from ember.distributions.torch_transform import TransformModule as TransformModule
from ember.distributions.transforms import biject_to as biject_to
from ember.distributions.transforms import transform_to as transform_to
from ember.distributions.truncated import LogUniform as LogUniform
from ember.distributions.truncated import TruncatedDistribution as TruncatedDistribution
from ember.distributions.truncated import TruncatedNormal as TruncatedNormal
from ember.distributions.unit import Unit as Unit
from ember.distributions.validation import enable_validation as enable_validation
from ember.distributions.validation import is_validation_enabled as is_validation_enabled
from ember.distributions.validation import validation_enabled as validation_enabled
from ember.distributions.walks import EulerMaruyama as EulerMaruyama
from ember.distributions.walks import GaussianAR as GaussianAR
from ember.distributions.walks import GaussianRandomWalk as GaussianRandomWalk
from ember.distributions.zero_inflated import ZeroInflatedDistribution as ZeroInflatedDistribution
from ember.distributions.zero_inflated import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
from ember.distributions.zero_inflated import ZeroInflatedPoisson as ZeroInflatedPoisson

__all__ = [
    "AVFMultivariateNormal",
    "AffineBeta",
    "AsymmetricLaplace",
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "BetaProportion",
    "Binomial",
    "CAR",
    "Categorical",
    "Cauchy",
    "CensoredDistribution",
    "Chi2",
    "CoalescentRateLikelihood",
    "CoalescentTimes",
    "CoalescentTimesWithRate",
    "ComposeTransformModule",
    "ConditionalDistribution",
    "ConditionalTransform",
    "ConditionalTransformModule",
    "ConditionalTransformedDistribution",
    "ContinuousBernoulli",
    "Delta",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscreteHMM",
    "DiscreteUniform",
    "Distribution",
    "Empirical",
    "EulerMaruyama",
    "ExpandedDistribution",
    "Exponential",
    "ExponentialFamily",
    "ExtendedBetaBinomial",
    "ExtendedBinomial",
    "FisherSnedecor",
    "FoldedDistribution",
    "Gamma",
    "GammaGaussianHMM",
    "GammaPoisson",
    "GaussianAR",
    "GaussianHMM",
    "GaussianMRF",
    "GaussianRandomWalk",
    "GaussianScaleMixture",
    "GeneralizedPareto",
    "Geometric",
    "GroupedNormalNormal",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "HurdleDistribution",
    "ICAR",
    "ImproperUniform",
    "Independent",
    "IndependentHMM",
    "InverseGamma",
    "Kumaraswamy",
    "LKJ",
    "LKJCholesky",
    "LKJCorrCholesky",
    "Laplace",
    "LinearHMM",
    "LogNormal",
    "LogNormalNegativeBinomial",
    "LogUniform",
    "Logistic",
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "MaskedDistribution",
    "MaskedMixture",
    "MatrixNormal",
    "MixtureOfDiagNormals",
    "MixtureOfDiagNormalsSharedCovariance",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "MultivariateStudentT",
    "NanMaskedMultivariateNormal",
    "NanMaskedNormal",
    "NegativeBinomial",
    "NegativeBinomial2",
    "Normal",
    "OMTMultivariateNormal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "OneOneMatching",
    "OneTwoMatching",
    "OrderedLogistic",
    "Pareto",
    "Poisson",
    "ProjectedNormal",
    "Rejector",
    "RelaxedBernoulli",
    "RelaxedBernoulliStraightThrough",
    "RelaxedOneHotCategorical",
    "RelaxedOneHotCategoricalStraightThrough",
    "SineBivariateVonMises",
    "SineSkewed",
    "SkewLogistic",
    "SoftAsymmetricLaplace",
    "SoftLaplace",
    "SpanningTree",
    "Stable",
    "StableWithLogProb",
    "StudentT",
    "TorchDistribution",
    "TransformModule",
    "TransformedDistribution",
    "TruncatedDistribution",
    "TruncatedNormal",
    "TruncatedPolyaGamma",
    "Uniform",
    "Unit",
    "VonMises",
    "VonMises3D",
    "Weibull",
    "Wishart",
    "ZeroInflatedDistribution",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "ZeroSumNormal",
    "biject_to",
    "constraints",
    "enable_validation",
    "is_validation_enabled",
    "kl",
    "transform_to",
    "transforms",
    "validation_enabled",
]
