"""``tools.trust.posteriors.regressions`` in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from benchmarks.posteriors.program import Program


def incomes(income: Any, height: Any, age: Any, male: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 1e6))
    by_height = numpyro.sample("by_height", dist.Normal(0.0, 1e5))
    by_age = numpyro.sample("by_age", dist.Normal(0.0, 1e5))
    by_sex = numpyro.sample("by_sex", dist.Normal(0.0, 1e5))
    noise = numpyro.sample("noise", dist.HalfCauchy(10_000.0))
    mean = intercept + by_height * height + by_age * age + by_sex * male
    with numpyro.plate("people", len(income)):
        numpyro.sample("income", dist.Normal(mean, noise), obs=income)


def shrubs(weight: Any, measured: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 100.0))
    power = numpyro.sample("power", dist.Normal(0.0, 100.0).expand([measured.shape[1]]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfCauchy(2.5))
    with numpyro.plate("shrubs", len(weight)):
        numpyro.sample("weight", dist.LogNormal(intercept + jnp.log(measured) @ power, noise), obs=weight)


def outliers(temperature: Any, height: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 1000.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfCauchy(5.0))
    freedom = numpyro.sample("freedom", dist.Gamma(2.0, 0.1))
    with numpyro.plate("rows", len(height)):
        numpyro.sample(
            "temperature", dist.StudentT(freedom, intercept + slope * height, noise), obs=temperature
        )


def hundred(x: Any, y: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 100.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 100.0).expand([x.shape[1]]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfCauchy(5.0))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(intercept + x @ slope, noise), obs=y)


PROGRAMS = {
    "incomes": Program(incomes, dense=True),
    "shrubs": Program(shrubs, dense=True),
    "outliers": Program(outliers, dense=True),
    "hundred": Program(hundred),
}
