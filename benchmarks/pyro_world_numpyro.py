"""Those programs of ``benchmarks.pyro_world`` that NumPyro can have: its flow guides, and a forecaster's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer.autoguide import AutoIAFNormal, AutoNormal
from numpyro.infer.initialization import init_to_sample
from numpyro.optim import Adam, ClippedAdam

from benchmarks import pyro_world_programs as shared
from benchmarks.pyro_world_programs import Program


def flow_iaf(quick: bool) -> Program:
    """The same regression; its autoregressive networks have another activation, and as many units."""
    columns = 10 if quick else shared.DIMS
    x, y = map(jnp.array, shared.rows(shared.OBSERVATIONS, columns))

    def model(x: Any, y: Any) -> None:
        w = numpyro.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    return Program(model, AutoIAFNormal(model, num_flows=2, hidden_dims=[columns]), (x, y), Adam(1e-3))


def forecaster(quick: bool) -> Program:
    """The same model, without what forecasts later times."""
    series, times = (5, 10) if quick else (shared.SERIES, shared.TIMES)
    x = jnp.array(shared.walk(times, series))

    def model(x: Any) -> None:
        noise = numpyro.sample("noise", dist.LogNormal(-1.0, 1.0))
        with numpyro.plate("series", len(x), dim=-2):
            scale = numpyro.sample("scale", dist.LogNormal(-jnp.ones((1, 1)), 1.0))
            with numpyro.plate("time", x.shape[1], dim=-1):
                steps = numpyro.sample("steps", dist.Normal(0.0, scale))
                numpyro.sample("x", dist.Normal(steps.cumsum(-1), noise), obs=x)

    guide = AutoNormal(model, init_loc_fn=init_to_sample, init_scale=0.1)
    return Program(model, guide, (x,), ClippedAdam(1e-3, b1=0.9, b2=0.99, clip_norm=10.0))


MODELS: dict[str, Callable[[bool], Program]] = {"flow_iaf": flow_iaf, "forecaster": forecaster}
