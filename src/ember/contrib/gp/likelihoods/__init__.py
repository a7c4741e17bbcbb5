"""Distributions of data, given the values of functions."""

from ember.contrib.gp.likelihoods.binary import Binary as Binary
from ember.contrib.gp.likelihoods.gaussian import Gaussian as Gaussian
from ember.contrib.gp.likelihoods.likelihood import Likelihood as Likelihood
from ember.contrib.gp.likelihoods.multi_class import MultiClass as MultiClass
from ember.contrib.gp.likelihoods.poisson import Poisson as Poisson

__all__ = ["Binary", "Gaussian", "Likelihood", "MultiClass", "Poisson"]
