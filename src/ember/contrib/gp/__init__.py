"""Gaussian processes: kernels, likelihoods, and exact, sparse and variational models."""

from ember.contrib.gp import kernels as kernels
from ember.contrib.gp import likelihoods as likelihoods
from ember.contrib.gp import models as models
from ember.contrib.gp import parameterized as parameterized
from ember.contrib.gp import util as util
from ember.contrib.gp.parameterized import Parameterized as Parameterized

__all__ = ["Parameterized", "kernels", "likelihoods", "models", "parameterized", "util"]
