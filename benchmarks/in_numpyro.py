"""The models in NumPyro: ``jit(svi.update)`` on the CPU, the loss fetched as a float at every step."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, Trace_ELBO

from benchmarks import data
from benchmarks.worker import Running


class Program(NamedTuple):
    """One model with its guide, the arguments of a step and the objective."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    objective: Any = Trace_ELBO()


POSITIVE = dist.constraints.positive


def mean_field_normal(name: str, loc: Any, scale: float) -> Any:
    q_loc = numpyro.param(f"{name}_loc", loc)
    q_scale = numpyro.param(f"{name}_scale", jnp.full_like(loc, scale), constraint=POSITIVE)
    return numpyro.sample(name, dist.Normal(q_loc, q_scale).to_event(jnp.ndim(loc)))


def beta_bernoulli() -> Program:
    def model(flips: Any) -> None:
        fairness = numpyro.sample("fairness", dist.Beta(10.0, 10.0))
        with numpyro.plate("flips", len(flips)):
            numpyro.sample("flip", dist.Bernoulli(fairness), obs=flips)

    def guide(flips: Any) -> None:
        alpha = numpyro.param("alpha", 15.0, constraint=POSITIVE)
        beta = numpyro.param("beta", 15.0, constraint=POSITIVE)
        numpyro.sample("fairness", dist.Beta(alpha, beta))

    return Program(model, guide, (jnp.array(data.FLIPS),))


def eight_schools() -> Program:
    def model(errors: Any, effects: Any) -> None:
        mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
        log_tau = numpyro.sample("log_tau", dist.Normal(0.0, 1.0))
        with numpyro.plate("schools", 8):
            theta = numpyro.sample("theta", dist.Normal(mu, jnp.exp(log_tau)))
            numpyro.sample("effect", dist.Normal(theta, errors), obs=effects)

    def guide(errors: Any, effects: Any) -> None:
        mean_field_normal("mu", jnp.array(0.0), 1.0)
        mean_field_normal("log_tau", jnp.array(0.0), 0.5)
        loc = numpyro.param("theta_loc", jnp.zeros(8))
        scale = numpyro.param("theta_scale", jnp.ones(8), constraint=POSITIVE)
        with numpyro.plate("schools", 8):
            numpyro.sample("theta", dist.Normal(loc, scale))

    return Program(model, guide, (jnp.array(data.ERRORS), jnp.array(data.EFFECTS)))


def logistic_regression() -> Program:
    def model(x: Any, y: Any) -> None:
        weight = numpyro.sample("weight", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
        bias = numpyro.sample("bias", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("label", dist.Bernoulli(logits=x @ weight + bias), obs=y)

    def guide(x: Any, y: Any) -> None:
        mean_field_normal("weight", jnp.zeros(x.shape[1]), 0.1)
        mean_field_normal("bias", jnp.array(0.0), 0.1)

    x, y = data.covariates()
    return Program(model, guide, (jnp.array(x), jnp.array(y)))


def logistic_batches() -> Program:
    _, guide, args, _ = logistic_regression()

    def model(x: Any, y: Any) -> None:
        weight = numpyro.sample("weight", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
        bias = numpyro.sample("bias", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(x), subsample_size=data.ROWS_IN_BATCH) as rows:
            numpyro.sample("label", dist.Bernoulli(logits=x[rows] @ weight + bias), obs=y[rows])

    return Program(model, guide, args)


def linear_mixed() -> Program:
    x, group, y = (jnp.array(values) for values in data.grouped())
    groups, names = int(group.max()) + 1, ("intercept", "slope", "log_tau", "log_sigma")

    def model(x: Any, group: Any, y: Any) -> None:
        intercept, slope, log_tau, log_sigma = (numpyro.sample(name, dist.Normal(0.0, 1.0)) for name in names)
        with numpyro.plate("groups", groups):
            offset = numpyro.sample("offset", dist.Normal(0.0, jnp.exp(log_tau)))
        with numpyro.plate("rows", len(x)):
            mean = intercept + slope * x + offset[group]
            numpyro.sample("y", dist.Normal(mean, jnp.exp(log_sigma)), obs=y)

    def guide(x: Any, group: Any, y: Any) -> None:
        for name in names:
            mean_field_normal(name, jnp.array(0.0), 0.1)
        loc = numpyro.param("offset_loc", jnp.zeros(groups))
        scale = numpyro.param("offset_scale", jnp.full(groups, 0.1), constraint=POSITIVE)
        with numpyro.plate("groups", groups):
            numpyro.sample("offset", dist.Normal(loc, scale))

    return Program(model, guide, (x, group, y))


def many_parameters() -> Program:
    names = [f"loc{i}" for i in range(data.PARAMETERS)]

    def model(x: Any) -> None:
        z = numpyro.sample("z", dist.Normal(jnp.zeros(len(x)), 1.0).to_event(1))
        numpyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc = jnp.stack([numpyro.param(name, 0.0) for name in names])
        numpyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    return Program(model, guide, (jnp.array(data.observations(data.PARAMETERS)),))


def scalar_sites(sites: int = data.SITES) -> Program:
    names = [f"z{i}" for i in range(sites)]

    def model(x: Any) -> None:
        z = [numpyro.sample(name, dist.Normal(0.0, 1.0)) for name in names]
        numpyro.sample("x", dist.Normal(jnp.stack(z), 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        for name in names:
            mean_field_normal(name, jnp.array(0.0), 0.5)

    return Program(model, guide, (jnp.array(data.observations(sites)),))


def dense(params: Any, name: str, x: Any) -> Any:
    return x @ params[name]["weight"] + params[name]["bias"]


def weights(sizes: dict[str, tuple[int, int]], seed: int) -> Any:
    keys = jax.random.split(jax.random.PRNGKey(seed), len(sizes))
    return {
        name: {"weight": jax.random.normal(key, size) / size[0] ** 0.5, "bias": jnp.zeros(size[1])}
        for key, (name, size) in zip(keys, sizes.items(), strict=True)
    }


def vae() -> Program:
    encoder = {"hidden": (data.PIXELS, data.HIDDEN)}
    encoder |= dict.fromkeys(("loc", "log_scale"), (data.HIDDEN, data.LATENT))
    decoder = {"hidden": (data.LATENT, data.HIDDEN), "logits": (data.HIDDEN, data.PIXELS)}

    def model(x: Any) -> None:
        params = numpyro.param("decoder", weights(decoder, 0))
        with numpyro.plate("images", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), data.LATENT)), 1.0).to_event(1))
            logits = dense(params, "logits", jnp.tanh(dense(params, "hidden", z)))
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: Any) -> None:
        params = numpyro.param("encoder", weights(encoder, 1))
        h = jnp.tanh(dense(params, "hidden", x))
        with numpyro.plate("images", len(x)):
            scale = jnp.exp(dense(params, "log_scale", h))
            numpyro.sample("z", dist.Normal(dense(params, "loc", h), scale).to_event(1))

    return Program(model, guide, (jnp.array(data.images()),))


PROGRAMS: dict[str, Callable[[], Program]] = {
    "beta_bernoulli": beta_bernoulli,
    "eight_schools": eight_schools,
    "logistic_regression": logistic_regression,
    "vae": vae,
    "logistic_batches": logistic_batches,
    "linear_mixed": linear_mixed,
    "scalar_sites": scalar_sites,
    "scalar_sites_300": partial(scalar_sites, data.MANY_SITES),
    "scalar_sites_1000": partial(scalar_sites, data.MOST_SITES),
    "many_parameters": many_parameters,
}


def program(name: str) -> Program:
    """The program of that name, here or in the modules for other objectives, guides and larger models."""
    for place in ("benchmarks.more_in_numpyro", "benchmarks.larger_in_numpyro"):
        if name not in PROGRAMS and name in (more := importlib.import_module(place).PROGRAMS):
            made: Program = more[name]()
            return made
    return PROGRAMS[name]()


class _Fit:
    """An SVI with its state, which the first step makes."""

    def __init__(self, name: str) -> None:
        written = program(name)
        self.args = written.args
        adam = numpyro.optim.Adam(data.RATES[name])
        self.svi = SVI(written.model, written.guide, adam, written.objective)
        self.state: Any = None
        self._update = jax.jit(self.svi.update)
        self._scan = jax.jit(self._scanned, static_argnums=1)

    def _ensure_state(self) -> None:
        if self.state is None:
            self.state = self.svi.init(jax.random.PRNGKey(0), *self.args)

    def step(self) -> float:
        """One call of the compiled update."""
        self._ensure_state()
        self.state, loss = self._update(self.state, *self.args)
        return float(loss)

    def _scanned(self, state: Any, num_steps: int, args: tuple[Any, ...]) -> Any:
        return jax.lax.scan(lambda state, _: self.svi.update(state, *args), state, None, length=num_steps)

    def many(self, num_steps: int) -> list[float]:
        """So many steps in one call."""
        self._ensure_state()
        self.state, losses = self._scan(self.state, num_steps, self.args)
        return [float(loss) for loss in np.asarray(losses)]


def build(name: str, scan: bool = False) -> Running:
    """A step of the model of that name, or a scan over steps; compiled at the first call."""
    fit = _Fit(name)
    return Running(fit.step, lambda seed: None, fit.many if scan else None)
