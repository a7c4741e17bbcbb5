"""The models as Pyro programs. ``pyro`` is an argument: Pyro and Ember run the same text."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks import data

SCALARS = ("intercept", "slope", "log_tau", "log_sigma")


class Program(NamedTuple):
    """One model with its guide and the arguments of a step."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    objective: str = "Trace_ELBO"
    options: dict[str, Any] = {}
    """Of the objective."""


def mean_field_normal(pyro: ModuleType, name: str, loc: torch.Tensor, scale: float, site: str = "") -> Any:
    """A guide site ``Normal(loc, scale)`` with parameters of its own, independent over all dims of ``loc``."""
    q_loc = pyro.param(f"{name}_loc", lambda: loc.clone())
    q_scale = pyro.param(
        f"{name}_scale",
        lambda: torch.full_like(loc, scale),
        constraint=pyro.distributions.constraints.positive,
    )
    return pyro.sample(site or name, pyro.distributions.Normal(q_loc, q_scale).to_event(loc.dim()))


def beta_bernoulli(pyro: ModuleType) -> Program:
    dist = pyro.distributions

    def model(flips: torch.Tensor) -> None:
        fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
        with pyro.plate("flips", len(flips)):
            pyro.sample("flip", dist.Bernoulli(fairness), obs=flips)

    def guide(flips: torch.Tensor) -> None:
        alpha = pyro.param("alpha", lambda: torch.tensor(15.0), constraint=dist.constraints.positive)
        beta = pyro.param("beta", lambda: torch.tensor(15.0), constraint=dist.constraints.positive)
        pyro.sample("fairness", dist.Beta(alpha, beta))

    return Program(model, guide, (torch.tensor(data.FLIPS),))


def eight_schools(pyro: ModuleType) -> Program:
    dist = pyro.distributions

    def model(errors: torch.Tensor, effects: torch.Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        log_tau = pyro.sample("log_tau", dist.Normal(0.0, 1.0))
        with pyro.plate("schools", 8):
            theta = pyro.sample("theta", dist.Normal(mu, log_tau.exp()))
            pyro.sample("effect", dist.Normal(theta, errors), obs=effects)

    def guide(errors: torch.Tensor, effects: torch.Tensor) -> None:
        mean_field_normal(pyro, "mu", torch.tensor(0.0), 1.0)
        mean_field_normal(pyro, "log_tau", torch.tensor(0.0), 0.5)
        loc = pyro.param("theta_loc", lambda: torch.zeros(8))
        scale = pyro.param("theta_scale", lambda: torch.ones(8), constraint=dist.constraints.positive)
        with pyro.plate("schools", 8):
            pyro.sample("theta", dist.Normal(loc, scale))

    return Program(model, guide, (torch.tensor(data.ERRORS), torch.tensor(data.EFFECTS)))


def logistic_regression(pyro: ModuleType) -> Program:
    dist = pyro.distributions
    x, y = (torch.tensor(values) for values in data.covariates())

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        weight = pyro.sample("weight", dist.Normal(torch.zeros(x.shape[1]), 1.0).to_event(1))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("label", dist.Bernoulli(logits=x @ weight + bias), obs=y)

    def guide(x: torch.Tensor, y: torch.Tensor) -> None:
        mean_field_normal(pyro, "weight", torch.zeros(x.shape[1]), 0.1)
        mean_field_normal(pyro, "bias", torch.tensor(0.0), 0.1)

    return Program(model, guide, (x, y))


def logistic_batches(pyro: ModuleType) -> Program:
    dist = pyro.distributions
    guide, args = logistic_regression(pyro)[1:3]

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        weight = pyro.sample("weight", dist.Normal(torch.zeros(x.shape[1]), 1.0).to_event(1))
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x), subsample_size=data.ROWS_IN_BATCH) as rows:
            pyro.sample("label", dist.Bernoulli(logits=x[rows] @ weight + bias), obs=y[rows])

    return Program(model, guide, args)


def linear_mixed(pyro: ModuleType) -> Program:
    dist = pyro.distributions
    x, group, y = (torch.tensor(values) for values in data.grouped())
    groups = int(group.max()) + 1

    def model(x: torch.Tensor, group: torch.Tensor, y: torch.Tensor) -> None:
        intercept, slope, log_tau, log_sigma = (pyro.sample(name, dist.Normal(0.0, 1.0)) for name in SCALARS)
        with pyro.plate("groups", groups):
            offset = pyro.sample("offset", dist.Normal(0.0, log_tau.exp()))
        with pyro.plate("rows", len(x)):
            mean = intercept + slope * x + offset[group]
            pyro.sample("y", dist.Normal(mean, log_sigma.exp()), obs=y)

    def guide(x: torch.Tensor, group: torch.Tensor, y: torch.Tensor) -> None:
        for name in SCALARS:
            mean_field_normal(pyro, name, torch.tensor(0.0), 0.1)
        loc = pyro.param("offset_loc", lambda: torch.zeros(groups))
        scale = pyro.param(
            "offset_scale", lambda: torch.full((groups,), 0.1), constraint=dist.constraints.positive
        )
        with pyro.plate("groups", groups):
            pyro.sample("offset", dist.Normal(loc, scale))

    return Program(model, guide, (x, group, y))


def many_parameters(pyro: ModuleType) -> Program:
    dist = pyro.distributions
    names = [f"loc{i}" for i in range(data.PARAMETERS)]

    def model(x: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        loc = torch.stack([pyro.param(name, lambda: torch.tensor(0.0)) for name in names])
        pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    return Program(model, guide, (torch.tensor(data.observations(data.PARAMETERS)),))


def scalar_sites(pyro: ModuleType, sites: int = data.SITES) -> Program:
    dist = pyro.distributions
    names = [f"z{i}" for i in range(sites)]

    def model(x: torch.Tensor) -> None:
        z = [pyro.sample(name, dist.Normal(0.0, 1.0)) for name in names]
        pyro.sample("x", dist.Normal(torch.stack(z), 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        for name in names:
            mean_field_normal(pyro, name, torch.tensor(0.0), 0.5)

    return Program(model, guide, (torch.tensor(data.observations(sites)),))


class Encoder(nn.Module):
    """Pixels to the mean and scale of the latent code."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(data.PIXELS, data.HIDDEN)
        self.loc = nn.Linear(data.HIDDEN, data.LATENT)
        self.log_scale = nn.Linear(data.HIDDEN, data.LATENT)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.tanh(self.hidden(x))
        return self.loc(h), self.log_scale(h).exp()


class Decoder(nn.Module):
    """A latent code to the logits of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(data.LATENT, data.HIDDEN)
        self.logits = nn.Linear(data.HIDDEN, data.PIXELS)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.logits(torch.tanh(self.hidden(z)))


def vae(pyro: ModuleType) -> Program:
    dist = pyro.distributions
    torch.manual_seed(0)
    encoder, decoder = Encoder(), Decoder()

    def model(x: torch.Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("images", len(x)):
            prior = dist.Normal(x.new_zeros(data.LATENT), 1.0)
            z = pyro.sample("z", prior.expand([len(x), data.LATENT]).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Program(model, guide, (torch.tensor(data.images()),))


PROGRAMS: dict[str, Callable[[ModuleType], Program]] = {
    "beta_bernoulli": beta_bernoulli,
    "eight_schools": eight_schools,
    "logistic_regression": logistic_regression,
    "scalar_sites": scalar_sites,
    "vae": vae,
    "logistic_batches": logistic_batches,
    "linear_mixed": linear_mixed,
    "scalar_sites_300": partial(scalar_sites, sites=data.MANY_SITES),
    "scalar_sites_1000": partial(scalar_sites, sites=data.MOST_SITES),
    "many_parameters": many_parameters,
}


def program(name: str, pyro: ModuleType) -> Program:
    """The program of that name, here or in the modules for other objectives, other guides and larger models."""
    for place in ("benchmarks.objective_programs", "benchmarks.guide_programs", "benchmarks.larger_programs"):
        if name not in PROGRAMS and name in (more := importlib.import_module(place).PROGRAMS):
            made: Program = more[name](pyro)
            return made
    return PROGRAMS[name](pyro)
