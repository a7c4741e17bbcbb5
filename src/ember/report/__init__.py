"""After the fit: tables, pointwise log likelihoods, ArviZ's data, pictures."""

from ember.report.assign import Assignment as Assignment
from ember.report.assign import assign as assign
from ember.report.elpd import Elpd as Elpd
from ember.report.elpd import compare as compare
from ember.report.elpd import loo as loo
from ember.report.elpd import waic as waic
from ember.report.held_out import held_out as held_out
from ember.report.joint_draws import joint_draws as joint_draws
from ember.report.log_likelihood import log_likelihood as log_likelihood
from ember.report.plots import forest as forest
from ember.report.predictive_check import posterior_predictive_check as posterior_predictive_check
from ember.report.summary import summary as summary
from ember.report.table import Table as Table
from ember.report.to_arviz import to_arviz as to_arviz
from ember.report.traces import traces as traces

__all__ = [
    "Assignment",
    "Elpd",
    "Table",
    "assign",
    "compare",
    "forest",
    "held_out",
    "joint_draws",
    "log_likelihood",
    "loo",
    "posterior_predictive_check",
    "summary",
    "to_arviz",
    "traces",
    "waic",
]
