"""The models of ``benchmarks.guides_objectives`` in NumPyro."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import RenyiELBO, TraceGraph_ELBO, autoguide

from benchmarks import data
from benchmarks.in_numpyro import Program, dense, eight_schools, mean_field_normal, scalar_sites, vae, weights

AutoGuide = type[autoguide.AutoGuide]


def _auto(written: Program, guide: AutoGuide) -> Program:
    return written._replace(guide=guide(written.model))


def hierarchical_module() -> Program:
    x, group, y = (jnp.array(values) for values in data.grouped(groups=100, rows=2_000))
    groups = int(group.max()) + 1

    def model(x: Any, group: Any, y: Any) -> None:
        intercept, slope = (numpyro.sample(name, dist.Normal(0.0, 1.0)) for name in ("intercept", "slope"))
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 1.0))
        offset = numpyro.sample("offset", dist.Normal(0.0, tau).expand([groups]).to_event(1))
        sigma = numpyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Normal(intercept + slope * x + offset[group], sigma), obs=y)

    return Program(model, autoguide.AutoNormal(model), (x, group, y))


def bayesian_network() -> Program:
    def layer(name: str, x: Any, outputs: int) -> Any:
        weight = numpyro.sample(
            f"{name}.weight", dist.Normal(0.0, 1.0).expand([outputs, x.shape[-1]]).to_event(2)
        )
        return x @ weight.T + numpyro.sample(
            f"{name}.bias", dist.Normal(0.0, 1.0).expand([outputs]).to_event(1)
        )

    def model(x: Any, y: Any) -> None:
        mean = layer("out", jnp.tanh(layer("hidden", x, data.UNITS)), 1)[..., 0]
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    x, y = data.curve()
    return Program(model, autoguide.AutoDiagonalNormal(model), (jnp.array(x), jnp.array(y)))


def mixture() -> Program:
    def model(x: Any) -> None:
        logits = numpyro.sample("logits", dist.Normal(jnp.zeros(data.COMPONENTS), 1.0).to_event(1))
        locs = numpyro.sample("locs", dist.Normal(jnp.zeros(data.COMPONENTS), 10.0).to_event(1))
        log_scale = numpyro.sample("log_scale", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(x)):
            components = dist.Normal(locs, jnp.exp(log_scale))
            numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(logits=logits), components), obs=x)

    def guide(x: Any) -> None:
        mean_field_normal("logits", jnp.zeros(data.COMPONENTS), 0.1)
        mean_field_normal("locs", jnp.linspace(-9.0, 9.0, data.COMPONENTS), 0.1)
        mean_field_normal("log_scale", jnp.array(0.0), 0.1)

    return Program(model, guide, (jnp.array(data.mixed()),))


def hidden_markov() -> Program:
    """The forward algorithm as one scan."""

    def model(y: Any) -> None:
        table = jnp.zeros((data.STATES, data.STATES))
        transition = numpyro.sample("transition", dist.Normal(table, 1.0).to_event(2))
        locs = numpyro.sample("locs", dist.Normal(jnp.zeros(data.STATES), 10.0).to_event(1))
        log_transition = jax.nn.log_softmax(transition, -1)

        def forward(log_alpha: Any, y_t: Any) -> Any:
            moved = jax.nn.logsumexp(log_alpha[:, :, None] + log_transition, 1)
            return moved + dist.Normal(locs, 1.0).log_prob(y_t[:, None]), None

        first = log_transition[0] + dist.Normal(locs, 1.0).log_prob(y[:, :1])
        log_alpha, _ = jax.lax.scan(forward, first, y.T[1:])
        numpyro.factor("y", jax.nn.logsumexp(log_alpha, 1).sum())

    def guide(y: Any) -> None:
        mean_field_normal("transition", jnp.zeros((data.STATES, data.STATES)), 0.1)
        half = data.STATES / 2
        mean_field_normal("locs", jnp.linspace(-half, half - 1, data.STATES), 0.1)

    return Program(model, guide, (jnp.array(data.sequences()),))


def belief_net() -> Program:
    first, second = data.BELIEFS
    up = {"first": (data.PIXELS, first), "second": (first, second)}
    down = {"first": (second, first), "second": (first, data.PIXELS)}

    def units(name: str, logits: Any, obs: Any = None) -> Any:
        return numpyro.sample(name, dist.Bernoulli(logits=logits).to_event(1), obs=obs)

    def model(x: Any) -> None:
        params = numpyro.param("down", weights(down, 0))
        with numpyro.plate("images", len(x)):
            middle = units("middle", dense(params, "first", units("top", jnp.zeros((len(x), second)))))
            units("x", dense(params, "second", middle), obs=x)

    def guide(x: Any) -> None:
        params = numpyro.param("up", weights(up, 1))
        with numpyro.plate("images", len(x)):
            units("top", dense(params, "second", units("middle", dense(params, "first", x))))

    return Program(model, guide, (jnp.array(data.images()),), TraceGraph_ELBO())


def vae_importance() -> Program:
    return vae()._replace(objective=RenyiELBO(alpha=0.0, num_particles=data.SAMPLES))


PROGRAMS: dict[str, Callable[[], Program]] = {
    "eight_schools_auto_normal": lambda: _auto(eight_schools(), autoguide.AutoNormal),
    "eight_schools_auto_mvn": lambda: _auto(eight_schools(), autoguide.AutoMultivariateNormal),
    "hierarchical_module": hierarchical_module,
    "bayesian_network": bayesian_network,
    "scalar_sites_auto": lambda: _auto(scalar_sites(), autoguide.AutoNormal),
    "scalar_sites_auto_1000": lambda: _auto(scalar_sites(data.MOST_SITES), autoguide.AutoNormal),
    "mixture": mixture,
    "hidden_markov": hidden_markov,
    "belief_net": belief_net,
    "vae_importance": vae_importance,
}
