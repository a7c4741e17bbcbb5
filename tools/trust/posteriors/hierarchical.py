"""Groups that borrow strength: eight schools in two forms, radon in houses, slopes that vary, rats that grow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def schools_data() -> Data:
    """Effects of coaching in eight schools, and their standard errors (Rubin, 1981)."""
    return {
        "effects": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
        "errors": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
    }


def schools_centred(effects: Tensor, errors: Tensor) -> None:
    """Each school's effect drawn around the mean of all: a funnel in tau."""
    mu = ember.sample("mu", dist.Normal(0.0, 5.0))
    tau = ember.sample("tau", dist.HalfCauchy(5.0))
    with ember.plate("schools", len(effects)):
        theta = ember.sample("theta", dist.Normal(mu, tau))
        ember.sample("effect", dist.Normal(theta, errors), obs=effects)


def schools_noncentred(effects: Tensor, errors: Tensor) -> None:
    """The same posterior in coordinates without the funnel."""
    mu = ember.sample("mu", dist.Normal(0.0, 5.0))
    tau = ember.sample("tau", dist.HalfCauchy(5.0))
    with ember.plate("schools", len(effects)):
        away = ember.sample("away", dist.Normal(0.0, 1.0))
        theta = ember.deterministic("theta", mu + tau * away)
        ember.sample("effect", dist.Normal(theta, errors), obs=effects)


def radon_data() -> Data:
    """Log radon in 120 houses of 12 counties; measured on the ground floor or in the basement."""
    draw = stream(101)
    county = draw.randint(12, size=120)
    floor = (draw.uniform(size=120) < 0.25).astype(float)
    level = draw.normal(1.4, 0.4, 12)
    return {
        "log_radon": level[county] - 0.7 * floor + draw.normal(0.0, 0.75, 120),
        "floor": floor,
        "county": county,
        "counties": 12,
    }


def radon(log_radon: Tensor, floor: Tensor, county: Tensor, counties: int) -> None:
    """An intercept for each county, one slope (Gelman and Hill, 2007, chapter 12)."""
    mean = ember.sample("mean", dist.Normal(0.0, 10.0))
    spread = ember.sample("spread", dist.HalfNormal(1.0))
    slope = ember.sample("slope", dist.Normal(0.0, 10.0))
    noise = ember.sample("noise", dist.HalfNormal(1.0))
    with ember.plate("counties", counties):
        intercept = ember.sample("intercept", dist.Normal(mean, spread))
    with ember.plate("houses", len(floor)):
        ember.sample("radon", dist.Normal(intercept[county] + slope * floor, noise), obs=log_radon)


def cafes_data() -> Data:
    """Waiting times in 15 cafes, five visits each in the morning and the afternoon."""
    draw = stream(102)
    mean, spread, correlation = np.array([3.5, -1.0]), np.array([1.0, 0.5]), -0.6
    covariance = np.outer(spread, spread) * np.array([[1.0, correlation], [correlation, 1.0]])
    lines = mean + draw.normal(size=(15, 2)) @ np.linalg.cholesky(covariance).T
    cafe, afternoon = np.repeat(np.arange(15), 10), np.tile([0.0, 1.0], 75)
    wait = lines[cafe, 0] + lines[cafe, 1] * afternoon + draw.normal(0.0, 0.5, 150)
    return {"wait": wait, "afternoon": afternoon, "cafe": cafe, "cafes": 15}


def cafes(wait: Tensor, afternoon: Tensor, cafe: Tensor, cafes: int) -> None:
    """Intercepts and slopes that vary together (McElreath, 2020, chapter 14), not centred."""
    mean = ember.sample("mean", dist.Normal(torch.tensor([5.0, -1.0]), 2.0).to_event(1))
    spread = ember.sample("spread", dist.Exponential(torch.ones(2)).to_event(1))
    correlation = ember.sample("correlation", dist.LKJCholesky(2, 2.0))
    noise = ember.sample("noise", dist.Exponential(1.0))
    with ember.plate("cafes", cafes):
        away = ember.sample("away", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    lines = ember.deterministic("lines", mean + away @ (spread[:, None] * correlation).T)
    with ember.plate("visits", len(wait)):
        ember.sample("wait", dist.Normal(lines[cafe, 0] + lines[cafe, 1] * afternoon, noise), obs=wait)


def rats_data() -> Data:
    """Weights in grams of ten rats on five days."""
    draw = stream(103)
    days = np.array([8.0, 15.0, 22.0, 29.0, 36.0])
    line = draw.normal([106.0, 6.2], [12.0, 0.5], (10, 2))
    return {"weight": line[:, :1] + line[:, 1:] * days + draw.normal(0.0, 6.0, (10, 5)), "days": days}


def rats(weight: Tensor, days: Tensor) -> None:
    """A line for each rat, in grams and days from birth, with wide priors (Gelfand and Smith, 1990)."""
    birth = ember.sample("birth", dist.Normal(0.0, 1000.0))
    growth = ember.sample("growth", dist.Normal(0.0, 100.0))
    birth_spread = ember.sample("birth_spread", dist.HalfCauchy(25.0))
    growth_spread = ember.sample("growth_spread", dist.HalfCauchy(5.0))
    noise = ember.sample("noise", dist.HalfCauchy(25.0))
    with ember.plate("rats", len(weight), dim=-2):
        a = ember.sample("a", dist.Normal(birth, birth_spread))
        b = ember.sample("b", dist.Normal(growth, growth_spread))
        with ember.plate("days", len(days), dim=-1):
            ember.sample("weight", dist.Normal(a + b * days, noise), obs=weight)


POSTERIORS = {
    "eight_schools_centred": Posterior(schools_centred, schools_data),
    "eight_schools_noncentred": Posterior(schools_noncentred, schools_data),
    "radon": Posterior(radon, radon_data),
    "cafes": Posterior(cafes, cafes_data),
    "rats": Posterior(rats, rats_data),
}
