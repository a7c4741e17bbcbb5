"""Ember: stochastic variational inference for PyTorch.

A step of training is a pure function of parameters, optimizer state, arguments and random state. Programs are written as for
Pyro, with ``sample``, ``param`` and ``plate``, and are fitted by ``SVI(model, guide, optim, loss).step(data)``.
"""

from ember import capture as capture
from ember import distributions as distributions
from ember import infer as infer
from ember import nn as nn
from ember import optim as optim
from ember import params as params
from ember import paths as paths
from ember import poutine as poutine
from ember import report as report
from ember import settings as settings
from ember import train as train
from ember.errors import EmberError as EmberError
from ember.fit.entry import fit as fit
from ember.infer.density.density import Density as Density
from ember.infer.density.density import density as density
from ember.infer.traces.validate_all import enable_validation as enable_validation
from ember.infer.traces.validate_all import validation_enabled as validation_enabled
from ember.modules import module as module
from ember.params.param_store import clear_param_store as clear_param_store
from ember.params.param_store import get_param_store as get_param_store
from ember.poutine import condition as condition
from ember.poutine import do as do
from ember.poutine import markov as markov
from ember.poutine.time.scan import scan as scan
from ember.primitives import barrier as barrier
from ember.primitives import deterministic as deterministic
from ember.primitives import factor as factor
from ember.primitives import param as param
from ember.primitives import plate as plate
from ember.primitives import plate_stack as plate_stack
from ember.primitives import sample as sample
from ember.primitives import subsample as subsample
from ember.report.assign import assign as assign
from ember.report.elpd import compare as compare
from ember.report.elpd import loo as loo
from ember.report.elpd import waic as waic
from ember.report.held_out import held_out as held_out
from ember.report.summary import summary as summary
from ember.rng import set_rng_seed as set_rng_seed
from ember.structure.inspect import render_model as render_model

__version__ = "0.1.0"

__all__ = [
    "Density",
    "EmberError",
    "__version__",
    "assign",
    "barrier",
    "clear_param_store",
    "compare",
    "condition",
    "density",
    "deterministic",
    "distributions",
    "do",
    "enable_validation",
    "factor",
    "fit",
    "get_param_store",
    "held_out",
    "infer",
    "loo",
    "markov",
    "module",
    "nn",
    "optim",
    "param",
    "params",
    "plate",
    "plate_stack",
    "poutine",
    "render_model",
    "report",
    "sample",
    "scan",
    "set_rng_seed",
    "settings",
    "subsample",
    "summary",
    "train",
    "validation_enabled",
    "waic",
]
