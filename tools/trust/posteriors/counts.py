"""Counts: Poisson with an exposure, and negative binomial."""

from __future__ import annotations

import numpy as np
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def roaches_data() -> Data:
    """Roaches caught in 60 flats over some trap days; earlier catches go up to hundreds."""
    draw = stream(161)
    before = np.round(np.exp(draw.normal(3.0, 1.2, 60)))
    treated = (draw.uniform(size=60) < 0.6).astype(float)
    senior = (draw.uniform(size=60) < 0.3).astype(float)
    exposure = np.round(draw.uniform(0.5, 2.0, 60), 2)
    rate = np.exp(1.2 + 0.006 * before - 0.5 * treated - 0.3 * senior)
    return {
        "caught": draw.poisson(exposure * rate).astype(float),
        "before": before,
        "treated": treated,
        "senior": senior,
        "exposure": exposure,
    }


def roaches(caught: Tensor, before: Tensor, treated: Tensor, senior: Tensor, exposure: Tensor) -> None:
    """Poisson regression with an offset (Gelman and Hill, 2007, chapter 6), in raw units."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 10.0))
    by_before = ember.sample("by_before", dist.Normal(0.0, 10.0))
    by_treatment = ember.sample("by_treatment", dist.Normal(0.0, 10.0))
    by_age = ember.sample("by_age", dist.Normal(0.0, 10.0))
    log_rate = intercept + by_before * before + by_treatment * treated + by_age * senior
    with ember.plate("flats", len(caught)):
        ember.sample("caught", dist.Poisson((exposure.log() + log_rate).exp()), obs=caught)


def absences_data() -> Data:
    """Days that 120 pupils were absent, by mark out of 100 and kind of course."""
    draw = stream(162)
    mark = np.round(draw.uniform(1.0, 99.0, 120))
    course = draw.randint(3, size=120)
    mean = np.exp(2.6 - 0.012 * mark + np.array([0.0, -0.4, -1.2])[course])
    return {
        "days": draw.poisson(mean * draw.gamma(1.5, 1 / 1.5, 120)).astype(float),
        "mark": mark,
        "course": course,
    }


def absences(days: Tensor, mark: Tensor, course: Tensor) -> None:
    """Negative binomial regression: mean and concentration."""
    level = ember.sample("level", dist.Normal(0.0, 5.0).expand([3]).to_event(1))
    slope = ember.sample("slope", dist.Normal(0.0, 1.0))
    concentration = ember.sample("concentration", dist.HalfCauchy(5.0))
    logits = level[course] + slope * mark - concentration.log()
    with ember.plate("pupils", len(days)):
        ember.sample("days", dist.NegativeBinomial(concentration, logits=logits), obs=days)


POSTERIORS = {
    "roaches": Posterior(roaches, roaches_data),
    "absences": Posterior(absences, absences_data),
}
