"""Estimators of the expected information gain.

===============================  ==================================================================
:func:`nmc_eig`                  nested Monte Carlo; an upper bound, but for its noise
:func:`posterior_eig`            a guide for the posterior; a lower bound
:func:`marginal_eig`             a guide for the marginal of the observations; an upper bound
:func:`marginal_likelihood_eig`  guides for marginal and likelihood, for random effects; no bound
:func:`vnmc_eig`                 nested Monte Carlo with a guide for the posterior; an upper bound
:func:`lfire_eig`                a classifier, for likelihoods that can be sampled only
:func:`donsker_varadhan_eig`     any function of targets and observations; a lower bound
:func:`laplace_eig`              a Laplace approximation for each of many observations
:func:`vi_eig`                   a fit for each of many observations
===============================  ==================================================================
"""

from ember.contrib.oed.eig.estimators import donsker_varadhan_eig as donsker_varadhan_eig
from ember.contrib.oed.eig.estimators import lfire_eig as lfire_eig
from ember.contrib.oed.eig.estimators import marginal_eig as marginal_eig
from ember.contrib.oed.eig.estimators import marginal_likelihood_eig as marginal_likelihood_eig
from ember.contrib.oed.eig.estimators import posterior_eig as posterior_eig
from ember.contrib.oed.eig.estimators import vnmc_eig as vnmc_eig
from ember.contrib.oed.eig.moving_log import EwmaLog as EwmaLog
from ember.contrib.oed.eig.moving_log import xexpx as xexpx
from ember.contrib.oed.eig.nested import nmc_eig as nmc_eig
from ember.contrib.oed.eig.prior_entropy import monte_carlo_entropy as monte_carlo_entropy
from ember.contrib.oed.eig.repeated import laplace_eig as laplace_eig
from ember.contrib.oed.eig.repeated import vi_eig as vi_eig
from ember.contrib.oed.eig.training import opt_eig_ape_loss as opt_eig_ape_loss

__all__ = [
    "EwmaLog",
    "donsker_varadhan_eig",
    "laplace_eig",
    "lfire_eig",
    "marginal_eig",
    "marginal_likelihood_eig",
    "monte_carlo_entropy",
    "nmc_eig",
    "opt_eig_ape_loss",
    "posterior_eig",
    "vi_eig",
    "vnmc_eig",
    "xexpx",
]
