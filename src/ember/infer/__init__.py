"""Inference: objectives, and stochastic variational inference."""

from ember.infer import autoguide as autoguide
from ember.infer.enumeration.discrete import TraceEnumSample_ELBO as TraceEnumSample_ELBO
from ember.infer.enumeration.discrete import infer_discrete as infer_discrete
from ember.infer.enumeration.enum import config_enumerate as config_enumerate
from ember.infer.enumeration.traceenum_elbo import TraceEnum_ELBO as TraceEnum_ELBO
from ember.infer.enumeration.tracetmc_elbo import TraceTMC_ELBO as TraceTMC_ELBO
from ember.infer.objectives.elbo import ELBO as ELBO
from ember.infer.objectives.elbo import ELBOModule as ELBOModule
from ember.infer.objectives.elbo import Estimate as Estimate
from ember.infer.objectives.energy_distance import EnergyDistance as EnergyDistance
from ember.infer.objectives.renyi_elbo import RenyiELBO as RenyiELBO
from ember.infer.objectives.rws import ReweightedWakeSleep as ReweightedWakeSleep
from ember.infer.objectives.svgd import SVGD as SVGD
from ember.infer.objectives.svgd import IMQSteinKernel as IMQSteinKernel
from ember.infer.objectives.svgd import RBFSteinKernel as RBFSteinKernel
from ember.infer.objectives.trace_elbo import Trace_ELBO as Trace_ELBO
from ember.infer.objectives.trace_mean_field_elbo import TraceMeanField_ELBO as TraceMeanField_ELBO
from ember.infer.objectives.trace_mmd import Trace_MMD as Trace_MMD
from ember.infer.objectives.trace_tail_adaptive_elbo import TraceTailAdaptive_ELBO as TraceTailAdaptive_ELBO
from ember.infer.objectives.tracegraph_elbo import TraceGraph_ELBO as TraceGraph_ELBO
from ember.infer.posterior.abstract_infer import EmpiricalMarginal as EmpiricalMarginal
from ember.infer.posterior.abstract_infer import TracePosterior as TracePosterior
from ember.infer.posterior.abstract_infer import TracePredictive as TracePredictive
from ember.infer.posterior.csis import CSIS as CSIS
from ember.infer.posterior.importance import Importance as Importance
from ember.infer.posterior.plate_tails import PlateTails as PlateTails
from ember.infer.posterior.plate_tails import psis_by_plate as psis_by_plate
from ember.infer.posterior.predictive import MHResampler as MHResampler
from ember.infer.posterior.predictive import Predictive as Predictive
from ember.infer.posterior.predictive import WeighedPredictive as WeighedPredictive
from ember.infer.posterior.smcfilter import SMCFilter as SMCFilter
from ember.infer.step.convergence.rule import StoppingRule as StoppingRule
from ember.infer.step.svi import SVI as SVI
from ember.infer.terms.bound_gradients import DoublyReparameterized as DoublyReparameterized
from ember.infer.terms.bound_gradients import Reparameterized as Reparameterized
from ember.infer.terms.control_variates import LeaveOneOut as LeaveOneOut
from ember.infer.terms.control_variates import NoControlVariate as NoControlVariate
from ember.infer.terms.control_variates import VarGrad as VarGrad
from ember.infer.terms.entropies import AnalyticKL as AnalyticKL
from ember.infer.terms.entropies import FullScore as FullScore
from ember.infer.terms.entropies import StickingTheLanding as StickingTheLanding
from ember.infer.traces.validation import enable_validation as enable_validation
from ember.infer.traces.validation import is_validation_enabled as is_validation_enabled

__all__ = [
    "AnalyticKL",
    "CSIS",
    "DoublyReparameterized",
    "ELBO",
    "ELBOModule",
    "EmpiricalMarginal",
    "EnergyDistance",
    "Estimate",
    "FullScore",
    "IMQSteinKernel",
    "Importance",
    "LeaveOneOut",
    "MHResampler",
    "NoControlVariate",
    "PlateTails",
    "Predictive",
    "RBFSteinKernel",
    "RenyiELBO",
    "Reparameterized",
    "ReweightedWakeSleep",
    "SMCFilter",
    "SVGD",
    "SVI",
    "StickingTheLanding",
    "StoppingRule",
    "TraceEnumSample_ELBO",
    "TraceEnum_ELBO",
    "TraceGraph_ELBO",
    "TraceMeanField_ELBO",
    "TracePosterior",
    "TracePredictive",
    "TraceTMC_ELBO",
    "TraceTailAdaptive_ELBO",
    "Trace_ELBO",
    "Trace_MMD",
    "VarGrad",
    "WeighedPredictive",
    "autoguide",
    "config_enumerate",
    "enable_validation",
    "infer_discrete",
    "is_validation_enabled",
    "psis_by_plate",
]
