"""``tools.trust.posteriors.hierarchical`` in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer.reparam import LocScaleReparam

from benchmarks.posteriors.program import Program


def schools_centred(effects: Any, errors: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(effects)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("effect", dist.Normal(theta, errors), obs=effects)


def schools_noncentred(effects: Any, errors: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(effects)):
        away = numpyro.sample("away", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * away)
        numpyro.sample("effect", dist.Normal(theta, errors), obs=effects)


def radon(log_radon: Any, floor: Any, county: Any, counties: int) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 10.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("counties", counties):
        intercept = numpyro.sample("intercept", dist.Normal(mean, spread))
    with numpyro.plate("houses", len(floor)):
        numpyro.sample("radon", dist.Normal(intercept[county] + slope * floor, noise), obs=log_radon)


def cafes(wait: Any, afternoon: Any, cafe: Any, cafes: int) -> None:
    mean = numpyro.sample("mean", dist.Normal(jnp.array([5.0, -1.0]), 2.0).to_event(1))
    spread = numpyro.sample("spread", dist.Exponential(1.0).expand([2]).to_event(1))
    correlation = numpyro.sample("correlation", dist.LKJCholesky(2, 2.0))
    noise = numpyro.sample("noise", dist.Exponential(1.0))
    with numpyro.plate("cafes", cafes):
        away = numpyro.sample("away", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    lines = numpyro.deterministic("lines", mean + away @ (spread[:, None] * correlation).T)
    with numpyro.plate("visits", len(wait)):
        numpyro.sample("wait", dist.Normal(lines[cafe, 0] + lines[cafe, 1] * afternoon, noise), obs=wait)


def rats(weight: Any, days: Any) -> None:
    birth = numpyro.sample("birth", dist.Normal(0.0, 1000.0))
    growth = numpyro.sample("growth", dist.Normal(0.0, 100.0))
    birth_spread = numpyro.sample("birth_spread", dist.HalfCauchy(25.0))
    growth_spread = numpyro.sample("growth_spread", dist.HalfCauchy(5.0))
    noise = numpyro.sample("noise", dist.HalfCauchy(25.0))
    with numpyro.plate("rats", len(weight), dim=-2):
        a = numpyro.sample("a", dist.Normal(birth, birth_spread))
        b = numpyro.sample("b", dist.Normal(growth, growth_spread))
        with numpyro.plate("days", len(days), dim=-1):
            numpyro.sample("weight", dist.Normal(a + b * days, noise), obs=weight)


PROGRAMS = {
    "eight_schools_centred": Program(schools_centred, {"theta": LocScaleReparam(0.0)}),
    "eight_schools_noncentred": Program(schools_noncentred),
    "radon": Program(radon, {"intercept": LocScaleReparam(0.0)}),
    "cafes": Program(cafes),
    "rats": Program(rats, {"a": LocScaleReparam(0.0), "b": LocScaleReparam(0.0)}),
}
