"""Fit a density and say whether to believe the result."""

from ember.fit.outcome import Outcome as Outcome
from ember.fit.outcome import StageRecord as StageRecord
from ember.fit.pipeline import fit_density as fit_density
from ember.fit.result import Fit as Fit
from ember.fit.state import Options as Options
from ember.infer.density.judging.judge import Limits as Limits
from ember.infer.density.judging.judge import Weighed as Weighed
from ember.infer.density.judging.verdict import Verdict as Verdict
