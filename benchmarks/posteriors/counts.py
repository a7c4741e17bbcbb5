"""``tools.trust.posteriors.counts`` in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from benchmarks.posteriors.program import Program


def roaches(caught: Any, before: Any, treated: Any, senior: Any, exposure: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 10.0))
    by_before = numpyro.sample("by_before", dist.Normal(0.0, 10.0))
    by_treatment = numpyro.sample("by_treatment", dist.Normal(0.0, 10.0))
    by_age = numpyro.sample("by_age", dist.Normal(0.0, 10.0))
    log_rate = intercept + by_before * before + by_treatment * treated + by_age * senior
    with numpyro.plate("flats", len(caught)):
        numpyro.sample("caught", dist.Poisson(jnp.exp(jnp.log(exposure) + log_rate)), obs=caught)


def absences(days: Any, mark: Any, course: Any) -> None:
    level = numpyro.sample("level", dist.Normal(0.0, 5.0).expand([3]).to_event(1))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    concentration = numpyro.sample("concentration", dist.HalfCauchy(5.0))
    mean = jnp.exp(level[course] + slope * mark)
    with numpyro.plate("pupils", len(days)):
        numpyro.sample("days", dist.NegativeBinomial2(mean, concentration), obs=days)


PROGRAMS = {"roaches": Program(roaches, dense=True, radius=0.01), "absences": Program(absences, dense=True)}
