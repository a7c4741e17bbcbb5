"""Compartmental models of epidemics: discrete time, discrete counts, fitted by variational inference."""

from ember.contrib.epidemiology.compartmental import CompartmentalModel as CompartmentalModel
from ember.contrib.epidemiology.distributions import beta_binomial_dist as beta_binomial_dist
from ember.contrib.epidemiology.distributions import binomial_dist as binomial_dist
from ember.contrib.epidemiology.distributions import infection_dist as infection_dist
from ember.distributions.coalescent import bio_phylo_to_times as bio_phylo_to_times

__all__ = [
    "CompartmentalModel",
    "beta_binomial_dist",
    "binomial_dist",
    "bio_phylo_to_times",
    "infection_dist",
]
