"""Guides for the posteriors of linear models: one for all observations that might be made."""

from ember.contrib.oed.glmm.guides.laplace import LinearModelLaplaceGuide as LinearModelLaplaceGuide
from ember.contrib.oed.glmm.guides.posterior import LinearModelPosteriorGuide as LinearModelPosteriorGuide
from ember.contrib.oed.glmm.guides.posterior import NormalInverseGammaGuide as NormalInverseGammaGuide
from ember.contrib.oed.glmm.guides.posterior import SigmoidGuide as SigmoidGuide
from ember.contrib.oed.glmm.guides.ratio import GuideDV as GuideDV

__all__ = [
    "GuideDV",
    "LinearModelLaplaceGuide",
    "LinearModelPosteriorGuide",
    "NormalInverseGammaGuide",
    "SigmoidGuide",
]
