"""Models whose objectives are not Trace_ELBO, as Pyro programs: enumeration, score functions, importance samples."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import nn

from benchmarks import data
from benchmarks.programs import Program, mean_field_normal, vae

ENUMERATED = {"enumerate": "parallel"}


def mixture(pyro: ModuleType) -> Program:
    """Gaussian mixture, the rows' components summed out."""
    dist = pyro.distributions

    def model(x: torch.Tensor) -> None:
        logits = pyro.sample("logits", dist.Normal(torch.zeros(data.COMPONENTS), 1.0).to_event(1))
        locs = pyro.sample("locs", dist.Normal(torch.zeros(data.COMPONENTS), 10.0).to_event(1))
        log_scale = pyro.sample("log_scale", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            component = pyro.sample("component", dist.Categorical(logits=logits), infer=ENUMERATED)
            pyro.sample("x", dist.Normal(locs[component], log_scale.exp()), obs=x)

    def guide(x: torch.Tensor) -> None:
        mean_field_normal(pyro, "logits", torch.zeros(data.COMPONENTS), 0.1)
        mean_field_normal(pyro, "locs", torch.linspace(-9.0, 9.0, data.COMPONENTS), 0.1)
        mean_field_normal(pyro, "log_scale", torch.tensor(0.0), 0.1)

    args = (torch.tensor(data.mixed()),)
    return Program(model, guide, args, "TraceEnum_ELBO", {"max_plate_nesting": 1})


def hidden_markov(pyro: ModuleType) -> Program:
    """Hidden Markov model, the states summed out step by step; every sequence starts in state 0."""
    dist = pyro.distributions

    def model(y: torch.Tensor) -> None:
        count, steps = y.shape
        table = torch.zeros(data.STATES, data.STATES)
        transition = pyro.sample("transition", dist.Normal(table, 1.0).to_event(2))
        locs = pyro.sample("locs", dist.Normal(torch.zeros(data.STATES), 10.0).to_event(1))
        with pyro.plate("sequences", count):
            x = torch.tensor(0)
            for t in pyro.markov(range(steps)):
                x = pyro.sample(f"x{t}", dist.Categorical(logits=transition[x]), infer=ENUMERATED)
                pyro.sample(f"y{t}", dist.Normal(locs[x], 1.0), obs=y[:, t])

    def guide(y: torch.Tensor) -> None:
        mean_field_normal(pyro, "transition", torch.zeros(data.STATES, data.STATES), 0.1)
        half = data.STATES / 2
        mean_field_normal(pyro, "locs", torch.linspace(-half, half - 1, data.STATES), 0.1)

    args = (torch.tensor(data.sequences()),)
    return Program(model, guide, args, "TraceEnum_ELBO", {"max_plate_nesting": 1})


def belief_net(pyro: ModuleType) -> Program:
    """Sigmoid belief net with two layers of binary units, their gradients by score functions."""
    dist = pyro.distributions
    torch.manual_seed(0)
    first, second = data.BELIEFS
    up = nn.ModuleList([nn.Linear(data.PIXELS, first), nn.Linear(first, second)])
    down = nn.ModuleList([nn.Linear(second, first), nn.Linear(first, data.PIXELS)])

    def model(x: torch.Tensor) -> None:
        pyro.module("down", down)
        with pyro.plate("images", len(x)):
            prior = dist.Bernoulli(logits=torch.zeros(len(x), second))
            top = pyro.sample("top", prior.to_event(1))
            middle = pyro.sample("middle", dist.Bernoulli(logits=down[0](top)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=down[1](middle)).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        pyro.module("up", up)
        with pyro.plate("images", len(x)):
            middle = pyro.sample("middle", dist.Bernoulli(logits=up[0](x)).to_event(1))
            pyro.sample("top", dist.Bernoulli(logits=up[1](middle)).to_event(1))

    return Program(model, guide, (torch.tensor(data.images()),), "TraceGraph_ELBO")


def vae_importance(pyro: ModuleType) -> Program:
    """The small VAE under the bound of several importance samples."""
    options = {
        "alpha": 0.0,
        "num_particles": data.SAMPLES,
        "vectorize_particles": True,
        "max_plate_nesting": 1,
    }
    return vae(pyro)._replace(objective="RenyiELBO", options=options)


PROGRAMS: dict[str, Callable[[ModuleType], Program]] = {
    "mixture": mixture,
    "hidden_markov": hidden_markov,
    "belief_net": belief_net,
    "vae_importance": vae_importance,
}
