"""Statistics of draws: quantiles and intervals, chains, scores of predictions, tails of importance weights."""

from ember.ops.chains import autocorrelation as autocorrelation
from ember.ops.chains import autocovariance as autocovariance
from ember.ops.chains import cummin
from ember.ops.chains import effective_sample_size as effective_sample_size
from ember.ops.chains import gelman_rubin as gelman_rubin
from ember.ops.chains import split_gelman_rubin as split_gelman_rubin
from ember.ops.pareto import fit_generalized_pareto as fit_generalized_pareto
from ember.ops.quantiles import hpdi as hpdi
from ember.ops.quantiles import pi as pi
from ember.ops.quantiles import quantile as quantile
from ember.ops.quantiles import resample as resample
from ember.ops.quantiles import weighed_quantile as weighed_quantile
from ember.ops.scores import crps_empirical as crps_empirical
from ember.ops.scores import energy_score_empirical as energy_score_empirical
from ember.ops.scores import waic as waic
from ember.ops.scores import weighted_mean, weighted_variance

# Pyro's names for them, which programs read.
_cummin = cummin
_weighted_mean = weighted_mean
_weighted_variance = weighted_variance

__all__ = [
    "autocorrelation",
    "autocovariance",
    "crps_empirical",
    "effective_sample_size",
    "energy_score_empirical",
    "fit_generalized_pareto",
    "gelman_rubin",
    "hpdi",
    "pi",
    "quantile",
    "resample",
    "split_gelman_rubin",
    "waic",
    "weighed_quantile",
]
