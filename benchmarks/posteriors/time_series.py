"""``tools.trust.posteriors.time_series`` in NumPyro."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from benchmarks.posteriors.program import Program


def nile(flow: Any) -> None:
    start = numpyro.sample("start", dist.Normal(1000.0, 500.0))
    wander = numpyro.sample("wander", dist.Gamma(4.0, 0.1))
    noise = numpyro.sample("noise", dist.HalfNormal(300.0))
    step = numpyro.sample("step", dist.Normal(0.0, 1.0).expand([len(flow) - 1]).to_event(1))
    steps = jnp.concatenate([jnp.zeros(1), jnp.cumsum(step)])
    level = numpyro.deterministic("level", start + wander * steps)
    with numpyro.plate("years", len(flow)):
        numpyro.sample("flow", dist.Normal(level, noise), obs=flow)


def ar2(y: Any) -> None:
    constant = numpyro.sample("constant", dist.Normal(0.0, 10.0))
    phi = numpyro.sample("phi", dist.Normal(0.0, 10.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfCauchy(2.5))
    mean = constant + phi[0] * y[1:-1] + phi[1] * y[:-2]
    with numpyro.plate("steps", len(y) - 2):
        numpyro.sample("y", dist.Normal(mean, noise), obs=y[2:])


def arma(y: Any) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    phi = numpyro.sample("phi", dist.Normal(0.0, 2.0))
    theta = numpyro.sample("theta", dist.Normal(0.0, 2.0))
    noise = numpyro.sample("noise", dist.HalfCauchy(2.5))

    def following(forecast: Any, before: Any) -> tuple[Any, Any]:
        forecast = mean + phi * before + theta * (before - forecast)
        return forecast, forecast

    first = mean + phi * mean
    _, others = jax.lax.scan(following, first, y[:-1])
    with numpyro.plate("steps", len(y)):
        numpyro.sample("y", dist.Normal(jnp.concatenate([first[None], others]), noise), obs=y)


def garch(y: Any) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    constant = numpyro.sample("constant", dist.HalfNormal(5.0))
    alpha = numpyro.sample("alpha", dist.Uniform(0.0, 1.0))
    share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
    beta = numpyro.deterministic("beta", (1.0 - alpha) * share)

    def following(variance: Any, before: Any) -> tuple[Any, Any]:
        variance = constant + alpha * (before - mean) ** 2 + beta * variance
        return variance, variance

    first = jnp.var(y, ddof=1)
    _, others = jax.lax.scan(following, first, y[:-1])
    variance = jnp.concatenate([first[None], others])
    with numpyro.plate("days", len(y)):
        numpyro.sample("y", dist.Normal(mean, jnp.sqrt(variance)), obs=y)


PROGRAMS = {
    "nile": Program(nile, accept=0.99),
    "ar2": Program(ar2),
    "arma": Program(arma),
    "garch": Program(garch),
}
