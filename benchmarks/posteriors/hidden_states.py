"""``tools.trust.posteriors.hidden_states`` in NumPyro, its states summed out by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from numpyro.distributions.transforms import OrderedTransform

from benchmarks.posteriors.program import Program


def regimes(y: Any) -> None:
    with numpyro.plate("from", 2):
        move = numpyro.sample("move", dist.Dirichlet(jnp.array([2.0, 2.0])))
    low = numpyro.sample("low", dist.Normal(0.0, 5.0))
    gap = numpyro.sample("gap", dist.HalfNormal(5.0))
    noise = numpyro.sample("noise", dist.HalfNormal(2.0))
    seen = dist.Normal(jnp.stack([low, low + gap]), noise).log_prob(y[:, None])

    def following(forward: Any, seen_now: Any) -> tuple[Any, None]:
        return logsumexp(forward[:, None] + jnp.log(move), axis=0) + seen_now, None

    last, _ = jax.lax.scan(following, jnp.log(0.5) + seen[0], seen[1:])
    numpyro.factor("y", logsumexp(last))


def mixture(y: Any) -> None:
    weight = numpyro.sample("weight", dist.Beta(5.0, 5.0))
    ordered = dist.TransformedDistribution(dist.Normal(0.0, 2.0).expand([2]).to_event(1), OrderedTransform())
    mean = numpyro.sample("mean", ordered)
    noise = numpyro.sample("noise", dist.HalfNormal(2.0).expand([2]).to_event(1))
    chances = jnp.stack([weight, 1.0 - weight])
    with numpyro.plate("rows", len(y)):
        parts = jnp.log(chances) + dist.Normal(mean, noise).log_prob(y[:, None])
        numpyro.factor("y", logsumexp(parts, axis=-1))


PROGRAMS = {"regimes": Program(regimes), "mixture": Program(mixture)}
