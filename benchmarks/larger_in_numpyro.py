"""The models of ``benchmarks.larger_models`` in NumPyro."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import autoguide

from benchmarks import data
from benchmarks.in_numpyro import Program, scalar_sites


def _auto(
    model: Callable[..., Any], *args: Any, guide: type[autoguide.AutoGuide] = autoguide.AutoNormal
) -> Program:
    return Program(model, guide(model), tuple(map(jnp.asarray, args)))


def _standard(*shape: int) -> Any:
    return dist.Normal(jnp.zeros(shape), 1.0).to_event(len(shape))


def gamma_poisson() -> Program:
    def model(k: Any) -> None:
        with numpyro.plate("columns", k.shape[1], dim=-1):
            rate = numpyro.sample("rate", dist.Gamma(2.0, 0.5))
            with numpyro.plate("rows", len(k), dim=-2):
                numpyro.sample("k", dist.Poisson(rate), obs=k)

    return _auto(model, data.counts())


def robust_regression() -> Program:
    def model(x: Any, y: Any) -> None:
        weight = numpyro.sample("weight", _standard(x.shape[1]))
        bias = numpyro.sample("bias", dist.Normal(0.0, 1.0))
        df = numpyro.sample("df", dist.Gamma(2.0, 0.1))
        sigma = numpyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.StudentT(df, x @ weight + bias, sigma), obs=y)

    return _auto(model, *data.with_outliers())


def logistic(rows: int, in_step: int | None = None) -> Program:
    def model(x: Any, y: Any) -> None:
        weight = numpyro.sample("weight", _standard(x.shape[1]))
        bias = numpyro.sample("bias", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(x), subsample_size=in_step) as drawn:
            if in_step is not None:
                x, y = x[drawn], y[drawn]
            numpyro.sample("label", dist.Bernoulli(logits=x @ weight + bias), obs=y)

    return _auto(model, *data.labelled(rows))


def item_response() -> Program:
    def model(y: Any) -> None:
        people = numpyro.plate("people", y.shape[0], dim=-2)
        items = numpyro.plate("items", y.shape[1], dim=-1)
        with people:
            ability = numpyro.sample("ability", dist.Normal(0.0, 1.0))
        with items:
            difficulty = numpyro.sample("difficulty", dist.Normal(0.0, 1.0))
            discrimination = numpyro.sample("discrimination", dist.LogNormal(0.0, 0.5))
        with people, items:
            logits = discrimination * (ability - difficulty)
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)

    return _auto(model, data.answers())


def correlated() -> Program:
    def model(y: Any) -> None:
        columns = y.shape[1]
        loc = numpyro.sample("loc", _standard(columns))
        scale = numpyro.sample("scale", dist.LogNormal(jnp.zeros(columns), 1.0).to_event(1))
        factor = numpyro.sample("factor", dist.LKJCholesky(columns, 2.0))
        with numpyro.plate("rows", len(y)):
            numpyro.sample("y", dist.MultivariateNormal(loc, scale_tril=scale[:, None] * factor), obs=y)

    return _auto(model, data.correlated())


def gaussian_process() -> Program:
    def model(x: Any, y: Any) -> None:
        length, scale, noise = (
            numpyro.sample(name, dist.LogNormal(0.0, 0.5)) for name in ("length", "scale", "noise")
        )
        distance = (x[:, None] - x) / length
        covariance = scale**2 * jnp.exp(-0.5 * distance**2) + (noise**2 + 1e-4) * jnp.eye(len(x))
        factor = jnp.linalg.cholesky(covariance)
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=factor), obs=y)

    return _auto(model, *data.smooth())


def negative_binomial() -> Program:
    def model(x: Any, k: Any) -> None:
        weight = numpyro.sample("weight", _standard(x.shape[1]))
        bias = numpyro.sample("bias", dist.Normal(0.0, 1.0))
        shape = numpyro.sample("shape", dist.LogNormal(0.0, 1.0))
        mean = jnp.exp(x @ weight + bias)
        with numpyro.plate("rows", len(x)):
            numpyro.sample("k", dist.GammaPoisson(shape, shape / mean), obs=k)

    return _auto(model, *data.overdispersed())


def bayesian_network_50() -> Program:
    def model(x: Any, y: Any) -> None:
        first = numpyro.sample("first", _standard(x.shape[1], data.UNITS))
        shift = numpyro.sample("shift", _standard(data.UNITS))
        second = numpyro.sample("second", _standard(data.UNITS))
        sigma = numpyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        mean = jnp.tanh(x @ first + shift) @ second
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Normal(mean, sigma), obs=y)

    return _auto(model, *data.linear(1_000, 50))


def random_walk(steps: int) -> Program:
    def model(y: Any) -> None:
        tau, sigma = (numpyro.sample(name, dist.LogNormal(0.0, 1.0)) for name in ("tau", "sigma"))
        z = numpyro.sample("z", _standard(len(y)))
        numpyro.sample("y", dist.Normal(tau * jnp.cumsum(z), sigma).to_event(1), obs=y)

    return _auto(model, data.walk(steps))


def full_rank(size: int) -> Program:
    def model(x: Any, y: Any) -> None:
        weight = numpyro.sample("weight", _standard(x.shape[1]))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Normal(x @ weight, 1.0), obs=y)

    return _auto(model, *data.linear(1_000, size), guide=autoguide.AutoMultivariateNormal)


def varying_slopes() -> Program:
    def model(x: Any, y: Any, group: Any) -> None:
        mean = numpyro.sample("mean", _standard(2))
        tau = numpyro.sample("tau", dist.LogNormal(jnp.zeros(2), 1.0).to_event(1))
        sigma = numpyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("groups", data.GROUPS):
            line = numpyro.sample("line", dist.Normal(mean, tau).to_event(1))
        with numpyro.plate("rows", len(x)):
            own = line[group]
            numpyro.sample("y", dist.Normal(own[:, 0] + own[:, 1] * x, sigma), obs=y)

    return _auto(model, *data.sloped())


def scalar_sites_auto(sites: int) -> Program:
    written = scalar_sites(sites)
    return _auto(written.model, *written.args)


PROGRAMS: dict[str, Callable[[], Program]] = {
    "gamma_poisson": gamma_poisson,
    "robust_regression": robust_regression,
    **{f"logistic_{rows:_}": partial(logistic, rows) for rows in (1_000, 10_000, 100_000, 1_000_000)},
    "item_response": item_response,
    "correlated": correlated,
    "gaussian_process": gaussian_process,
    "subsample_of_million": partial(logistic, data.MILLION, data.ROWS_OF_MILLION),
    "negative_binomial": negative_binomial,
    "bayesian_network_50": bayesian_network_50,
    **{f"random_walk_{steps:_}": partial(random_walk, steps) for steps in (100, 1_000, 10_000)},
    "full_rank_50": partial(full_rank, 50),
    "full_rank_200": partial(full_rank, 200),
    "varying_slopes": varying_slopes,
    "scalar_sites_auto_10": partial(scalar_sites_auto, 10),
    "scalar_sites_auto_60": partial(scalar_sites_auto, 60),
}
