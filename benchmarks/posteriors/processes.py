"""``tools.trust.posteriors.processes`` in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from benchmarks.posteriors.program import Program


def squared_exponential(x: Any, length: Any, height: Any, more: Any) -> Any:
    apart = (x[:, None] - x[None, :]) / length
    return height**2 * jnp.exp(-0.5 * apart**2) + more * jnp.eye(len(x))


def gp_regression(x: Any, y: Any) -> None:
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    height = numpyro.sample("height", dist.HalfNormal(3.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    covariance = squared_exponential(x, length, height, noise**2)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)


def gp_counts(x: Any, count: Any) -> None:
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    height = numpyro.sample("height", dist.HalfNormal(2.0))
    level = numpyro.sample("level", dist.Normal(0.0, 2.0))
    white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    root = jnp.linalg.cholesky(squared_exponential(x, length, height, 1e-6))
    curve = numpyro.deterministic("curve", level + root @ white)
    with numpyro.plate("points", len(x)):
        numpyro.sample("count", dist.Poisson(jnp.exp(curve)), obs=count)


PROGRAMS = {"gp_regression": Program(gp_regression), "gp_counts": Program(gp_counts, accept=0.99)}
