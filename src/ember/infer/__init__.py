"""Inference: objectives, and stochastic variational inference."""

from ember.infer.elbo import ELBO as ELBO
from ember.infer.elbo import ELBOModule as ELBOModule
from ember.infer.elbo import Estimate as Estimate
from ember.infer.svi import SVI as SVI
from ember.infer.trace_elbo import Trace_ELBO as Trace_ELBO
from ember.infer.validation import enable_validation as enable_validation
from ember.infer.validation import is_validation_enabled as is_validation_enabled

__all__ = [
    "ELBO",
    "SVI",
    "ELBOModule",
    "Estimate",
    "Trace_ELBO",
    "enable_validation",
    "is_validation_enabled",
]
