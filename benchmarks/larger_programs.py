"""Models of the sizes that people fit, and of growing sizes, as Pyro programs under automatic guides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch

from benchmarks import data
from benchmarks.programs import Program, scalar_sites


def _auto(pyro: ModuleType, model: Callable[..., Any], *args: Any, guide: str = "AutoNormal") -> Program:
    """The model under a guide of ``pyro.infer.autoguide``, its arguments as tensors."""
    return Program(model, getattr(pyro.infer.autoguide, guide)(model), tuple(map(torch.as_tensor, args)))


def _standard(pyro: ModuleType, *shape: int) -> Any:
    """Independent standard normals, one event."""
    return pyro.distributions.Normal(torch.zeros(shape), 1.0).to_event(len(shape))


def gamma_poisson(pyro: ModuleType) -> Program:
    """Counts with a rate for each column."""
    dist = pyro.distributions

    def model(k: torch.Tensor) -> None:
        with pyro.plate("columns", k.shape[1], dim=-1):
            rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
            with pyro.plate("rows", len(k), dim=-2):
                pyro.sample("k", dist.Poisson(rate), obs=k)

    return _auto(pyro, model, data.counts())


def robust_regression(pyro: ModuleType) -> Program:
    """A line with noise of Student's t."""
    dist = pyro.distributions

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        weight = pyro.sample("weight", _standard(pyro, x.shape[1]))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        df = pyro.sample("df", dist.Gamma(2.0, 0.1))
        sigma = pyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.StudentT(df, x @ weight + bias, sigma), obs=y)

    return _auto(pyro, model, *data.with_outliers())


def logistic(pyro: ModuleType, rows: int, in_step: int | None = None) -> Program:
    """Logistic regression on all rows, or on some of them, drawn anew in each step."""
    dist = pyro.distributions

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        weight = pyro.sample("weight", _standard(pyro, x.shape[1]))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x), subsample_size=in_step) as drawn:
            if in_step is not None:
                x, y = x[drawn], y[drawn]
            pyro.sample("label", dist.Bernoulli(logits=x @ weight + bias), obs=y)

    return _auto(pyro, model, *data.labelled(rows))


def item_response(pyro: ModuleType) -> Program:
    """Item response with two parameters an item."""
    dist = pyro.distributions

    def model(y: torch.Tensor) -> None:
        people, items = (pyro.plate(name, size, dim=dim) for name, size, dim in _sides(y))
        with people:
            ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
        with items:
            difficulty = pyro.sample("difficulty", dist.Normal(0.0, 1.0))
            discrimination = pyro.sample("discrimination", dist.LogNormal(0.0, 0.5))
        with people, items:
            logits = discrimination * (ability - difficulty)
            pyro.sample("y", dist.Bernoulli(logits=logits), obs=y)

    return _auto(pyro, model, data.answers())


def _sides(y: torch.Tensor) -> tuple[tuple[str, int, int], ...]:
    return ("people", y.shape[0], -2), ("items", y.shape[1], -1)


def correlated(pyro: ModuleType) -> Program:
    """A multivariate normal whose correlations have the prior of Lewandowski, Kurowicka and Joe (2009)."""
    dist = pyro.distributions

    def model(y: torch.Tensor) -> None:
        columns = y.shape[1]
        loc = pyro.sample("loc", _standard(pyro, columns))
        scale = pyro.sample("scale", dist.LogNormal(torch.zeros(columns), 1.0).to_event(1))
        factor = pyro.sample("factor", dist.LKJCholesky(columns, torch.tensor(2.0)))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.MultivariateNormal(loc, scale_tril=scale[:, None] * factor), obs=y)

    return _auto(pyro, model, data.correlated())


def gaussian_process(pyro: ModuleType) -> Program:
    """A Gaussian process with the squared exponential kernel, the function itself integrated out."""
    dist = pyro.distributions

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        length, scale, noise = (
            pyro.sample(name, dist.LogNormal(0.0, 0.5)) for name in ("length", "scale", "noise")
        )
        distance = (x[:, None] - x) / length
        covariance = scale**2 * torch.exp(-0.5 * distance**2) + (noise**2 + 1e-4) * torch.eye(len(x))
        zeros = torch.zeros(len(x))
        pyro.sample("y", dist.MultivariateNormal(zeros, scale_tril=torch.linalg.cholesky(covariance)), obs=y)

    return _auto(pyro, model, *data.smooth())


def negative_binomial(pyro: ModuleType) -> Program:
    """Regression of counts whose variance is larger than their mean."""
    dist = pyro.distributions

    def model(x: torch.Tensor, k: torch.Tensor) -> None:
        weight = pyro.sample("weight", _standard(pyro, x.shape[1]))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        shape = pyro.sample("shape", dist.LogNormal(0.0, 1.0))
        mean = torch.exp(x @ weight + bias)
        with pyro.plate("rows", len(x)):
            pyro.sample("k", dist.GammaPoisson(shape, shape / mean), obs=k)

    return _auto(pyro, model, *data.overdispersed())


def bayesian_network_50(pyro: ModuleType) -> Program:
    """Regression by a network with one hidden layer and normal priors on its weights."""
    dist = pyro.distributions

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        first = pyro.sample("first", _standard(pyro, x.shape[1], data.UNITS))
        shift = pyro.sample("shift", _standard(pyro, data.UNITS))
        second = pyro.sample("second", _standard(pyro, data.UNITS))
        sigma = pyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        mean = torch.tanh(x @ first + shift) @ second
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(mean, sigma), obs=y)

    return _auto(pyro, model, *data.linear(1_000, 50))


def random_walk(pyro: ModuleType, steps: int) -> Program:
    """A random walk seen through noise, by its steps."""
    dist = pyro.distributions

    def model(y: torch.Tensor) -> None:
        tau, sigma = (pyro.sample(name, dist.LogNormal(0.0, 1.0)) for name in ("tau", "sigma"))
        z = pyro.sample("z", _standard(pyro, len(y)))
        pyro.sample("y", dist.Normal(tau * z.cumsum(-1), sigma).to_event(1), obs=y)

    return _auto(pyro, model, data.walk(steps))


def full_rank(pyro: ModuleType, size: int) -> Program:
    """A regression on so many covariates, whose posterior the guide can match."""
    dist = pyro.distributions

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        weight = pyro.sample("weight", _standard(pyro, x.shape[1]))
        with pyro.plate("rows", len(x)):
            pyro.sample("y", dist.Normal(x @ weight, 1.0), obs=y)

    return _auto(pyro, model, *data.linear(1_000, size), guide="AutoMultivariateNormal")


def varying_slopes(pyro: ModuleType) -> Program:
    """A line of its own for each group."""
    dist = pyro.distributions

    def model(x: torch.Tensor, y: torch.Tensor, group: torch.Tensor) -> None:
        mean = pyro.sample("mean", _standard(pyro, 2))
        tau = pyro.sample("tau", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        sigma = pyro.sample("sigma", dist.LogNormal(0.0, 1.0))
        with pyro.plate("groups", data.GROUPS):
            line = pyro.sample("line", dist.Normal(mean, tau).to_event(1))
        with pyro.plate("rows", len(x)):
            own = line[group]
            pyro.sample("y", dist.Normal(own[:, 0] + own[:, 1] * x, sigma), obs=y)

    return _auto(pyro, model, *data.sloped())


def scalar_sites_auto(pyro: ModuleType, sites: int) -> Program:
    """So many scalar sites."""
    written = scalar_sites(pyro, sites)
    return _auto(pyro, written.model, *written.args)


PROGRAMS: dict[str, Callable[[ModuleType], Program]] = {
    "gamma_poisson": gamma_poisson,
    "robust_regression": robust_regression,
    **{f"logistic_{rows:_}": partial(logistic, rows=rows) for rows in (1_000, 10_000, 100_000)},
    "item_response": item_response,
    "correlated": correlated,
    "gaussian_process": gaussian_process,
    "subsample_of_million": partial(logistic, rows=data.MILLION, in_step=data.ROWS_OF_MILLION),
    "negative_binomial": negative_binomial,
    "bayesian_network_50": bayesian_network_50,
    **{f"random_walk_{steps:_}": partial(random_walk, steps=steps) for steps in (100, 1_000, 10_000)},
    "full_rank_50": partial(full_rank, size=50),
    "full_rank_200": partial(full_rank, size=200),
    "varying_slopes": varying_slopes,
    "scalar_sites_auto_10": partial(scalar_sites_auto, sites=10),
    "scalar_sites_auto_60": partial(scalar_sites_auto, sites=60),
    "logistic_1_000_000": partial(logistic, rows=data.MILLION),
}
