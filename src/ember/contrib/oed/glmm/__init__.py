"""Generalised linear mixed models, for the design of experiments.

A design is a matrix ``(..., n, p)`` of n observations of p coefficients each; dims left of it are independent designs.

>>> import torch
>>> from ember.contrib.oed.glmm import known_covariance_linear_model
>>> _ = torch.manual_seed(0)
>>> model = known_covariance_linear_model(torch.tensor([0.0]), torch.tensor([10.0]), torch.tensor(2.0))
>>> model(torch.tensor([[1.0], [-1.0]])).shape
torch.Size([2])
"""

from ember.contrib.oed.glmm import guides as guides
from ember.contrib.oed.glmm.assignments import group_assignment_matrix as group_assignment_matrix
from ember.contrib.oed.glmm.assignments import rf_group_assignments as rf_group_assignments
from ember.contrib.oed.glmm.families import group_linear_model as group_linear_model
from ember.contrib.oed.glmm.families import group_normal_guide as group_normal_guide
from ember.contrib.oed.glmm.families import known_covariance_linear_model as known_covariance_linear_model
from ember.contrib.oed.glmm.families import lmer_model as lmer_model
from ember.contrib.oed.glmm.families import logistic_regression_model as logistic_regression_model
from ember.contrib.oed.glmm.families import normal_guide as normal_guide
from ember.contrib.oed.glmm.families import normal_inverse_gamma_guide as normal_inverse_gamma_guide
from ember.contrib.oed.glmm.families import (
    normal_inverse_gamma_linear_model as normal_inverse_gamma_linear_model,
)
from ember.contrib.oed.glmm.families import sigmoid_model as sigmoid_model
from ember.contrib.oed.glmm.families import zero_mean_unit_obs_sd_lm as zero_mean_unit_obs_sd_lm
from ember.contrib.oed.glmm.linear import analytic_posterior_cov as analytic_posterior_cov
from ember.contrib.oed.glmm.linear import bayesian_linear_model as bayesian_linear_model
from ember.contrib.oed.glmm.linear import broadcast_cat as broadcast_cat
from ember.contrib.oed.glmm.linear import epsilon as epsilon
from ember.contrib.oed.glmm.linear import normal_inv_gamma_family_guide as normal_inv_gamma_family_guide

__all__ = [
    "analytic_posterior_cov",
    "bayesian_linear_model",
    "broadcast_cat",
    "epsilon",
    "group_assignment_matrix",
    "group_linear_model",
    "group_normal_guide",
    "guides",
    "known_covariance_linear_model",
    "lmer_model",
    "logistic_regression_model",
    "normal_guide",
    "normal_inv_gamma_family_guide",
    "normal_inverse_gamma_guide",
    "normal_inverse_gamma_linear_model",
    "rf_group_assignments",
    "sigmoid_model",
    "zero_mean_unit_obs_sd_lm",
]
