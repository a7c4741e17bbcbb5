"""Automatic guides: made from a model, for its latent sites, whatever their supports."""

from ember.infer.autoguide.base.guide import AutoGuide as AutoGuide
from ember.infer.autoguide.base.initialization import init_to_feasible as init_to_feasible
from ember.infer.autoguide.base.initialization import init_to_generated as init_to_generated
from ember.infer.autoguide.base.initialization import init_to_mean as init_to_mean
from ember.infer.autoguide.base.initialization import init_to_median as init_to_median
from ember.infer.autoguide.base.initialization import init_to_sample as init_to_sample
from ember.infer.autoguide.base.initialization import init_to_uniform as init_to_uniform
from ember.infer.autoguide.base.initialization import init_to_value as init_to_value
from ember.infer.autoguide.dependent.gaussian import AutoGaussian as AutoGaussian
from ember.infer.autoguide.dependent.structured import AutoStructured as AutoStructured
from ember.infer.autoguide.effectful.messenger import AutoMessenger as AutoMessenger
from ember.infer.autoguide.effectful.normal_messenger import (
    AutoHierarchicalNormalMessenger as AutoHierarchicalNormalMessenger,
)
from ember.infer.autoguide.effectful.normal_messenger import AutoNormalMessenger as AutoNormalMessenger
from ember.infer.autoguide.effectful.regressive_messenger import (
    AutoRegressiveMessenger as AutoRegressiveMessenger,
)
from ember.infer.autoguide.guide_list import AutoCallable as AutoCallable
from ember.infer.autoguide.guide_list import AutoGuideList as AutoGuideList
from ember.infer.autoguide.mean_field_entropy import mean_field_entropy as mean_field_entropy
from ember.infer.autoguide.packed.continuous import AutoContinuous as AutoContinuous
from ember.infer.autoguide.packed.diagonal_normal import AutoDiagonalNormal as AutoDiagonalNormal
from ember.infer.autoguide.packed.laplace import AutoLaplaceApproximation as AutoLaplaceApproximation
from ember.infer.autoguide.packed.low_rank_normal import (
    AutoLowRankMultivariateNormal as AutoLowRankMultivariateNormal,
)
from ember.infer.autoguide.packed.multivariate_normal import AutoMultivariateNormal as AutoMultivariateNormal
from ember.infer.autoguide.packed.normalizing_flow import AutoIAFNormal as AutoIAFNormal
from ember.infer.autoguide.packed.normalizing_flow import AutoNormalizingFlow as AutoNormalizingFlow
from ember.infer.autoguide.saving import load_guide as load_guide
from ember.infer.autoguide.saving import save_guide as save_guide
from ember.infer.autoguide.sitewise.delta import AutoDelta as AutoDelta
from ember.infer.autoguide.sitewise.discrete_parallel import AutoDiscreteParallel as AutoDiscreteParallel
from ember.infer.autoguide.sitewise.normal import AutoNormal as AutoNormal

__all__ = [
    "AutoCallable",
    "AutoContinuous",
    "AutoDelta",
    "AutoDiagonalNormal",
    "AutoDiscreteParallel",
    "AutoGaussian",
    "AutoGuide",
    "AutoGuideList",
    "AutoHierarchicalNormalMessenger",
    "AutoIAFNormal",
    "AutoLaplaceApproximation",
    "AutoLowRankMultivariateNormal",
    "AutoMessenger",
    "AutoMultivariateNormal",
    "AutoNormal",
    "AutoNormalMessenger",
    "AutoNormalizingFlow",
    "AutoRegressiveMessenger",
    "AutoStructured",
    "init_to_feasible",
    "init_to_generated",
    "init_to_mean",
    "init_to_median",
    "init_to_sample",
    "init_to_uniform",
    "init_to_value",
    "load_guide",
    "mean_field_entropy",
    "save_guide",
]
