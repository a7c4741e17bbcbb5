"""``tools.trust.posteriors.curves`` in NumPyro."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from benchmarks.posteriors.program import Program


def dugongs(age: Any, length: Any) -> None:
    limit = numpyro.sample("limit", dist.Normal(0.0, 100.0))
    still = numpyro.sample("still", dist.HalfNormal(100.0))
    rate = numpyro.sample("rate", dist.Uniform(0.5, 1.0))
    noise = numpyro.sample("noise", dist.HalfCauchy(1.0))
    with numpyro.plate("dugongs", len(age)):
        numpyro.sample("length", dist.Normal(limit - still * rate**age, noise), obs=length)


def doses(dose: Any, response: Any) -> None:
    bottom = numpyro.sample("bottom", dist.Normal(0.0, 50.0))
    height = numpyro.sample("height", dist.Normal(100.0, 50.0))
    half = numpyro.sample("half", dist.LogNormal(math.log(100.0), 2.0))
    steepness = numpyro.sample("steepness", dist.LogNormal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfCauchy(10.0))
    mean = bottom + height / (1.0 + (half / dose) ** steepness)
    with numpyro.plate("wells", len(dose)):
        numpyro.sample("response", dist.Normal(mean, noise), obs=response)


def survival(days: Any, died: Any, alive: Any, age: Any, treated: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 20.0))
    by_age = numpyro.sample("by_age", dist.Normal(0.0, 1.0))
    by_treatment = numpyro.sample("by_treatment", dist.Normal(0.0, 10.0))
    shape = numpyro.sample("shape", dist.LogNormal(0.0, 1.0))
    scale = jnp.exp(intercept + by_age * age + by_treatment * treated)
    with numpyro.plate("dead", len(died)):
        numpyro.sample("days", dist.Weibull(scale[died], shape), obs=days[died])
    numpyro.factor("longer", -jnp.sum((days[alive] / scale[alive]) ** shape))


def lynxes(pelts: Any, substeps: int) -> None:
    birth = numpyro.sample("birth", dist.LogNormal(math.log(1.0), 0.5).expand([2]).to_event(1))
    meet = numpyro.sample("meet", dist.LogNormal(math.log(0.05), 0.5).expand([2]).to_event(1))
    start = numpyro.sample("start", dist.LogNormal(math.log(10.0), 1.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.LogNormal(-1.0, 1.0).expand([2]).to_event(1))
    sign, step = jnp.array([1.0, -1.0]), 1.0 / substeps

    def change(z: Any) -> Any:
        return sign * z * (birth - meet * z[::-1])

    def following(z: Any, _: None) -> tuple[Any, Any]:
        for _ in range(substeps):
            first = change(z)
            second = change(z + 0.5 * step * first)
            third = change(z + 0.5 * step * second)
            fourth = change(z + step * third)
            z = z + step / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)
        return z, z

    _, later = jax.lax.scan(following, start, None, length=len(pelts) - 1)
    mean = jnp.log(jnp.concatenate([start[None], later]))
    with numpyro.plate("years", len(pelts)):
        numpyro.sample("pelts", dist.LogNormal(mean, noise).to_event(1), obs=pelts)


PROGRAMS = {
    "dugongs": Program(dugongs, dense=True),
    "doses": Program(doses, dense=True),
    "survival": Program(survival, dense=True),
    "lynxes": Program(lynxes, dense=True, radius=0.0),
}
