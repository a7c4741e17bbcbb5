"""Models with guides that are made for them, and models that are modules, as Pyro programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch

from benchmarks import data
from benchmarks.programs import Program, eight_schools, scalar_sites


def with_auto_guide(pyro: ModuleType, program: Callable[[ModuleType], Program], guide: str) -> Program:
    """A program with a guide of ``pyro.infer.autoguide`` in place of its own."""
    written = program(pyro)
    return written._replace(guide=getattr(pyro.infer.autoguide, guide)(written.model))


def hierarchical_module(pyro: ModuleType) -> Program:
    """A line with an offset for each group, as a PyroModule, under AutoNormal."""
    dist, sampled = pyro.distributions, pyro.nn.PyroSample
    x, group, y = (torch.tensor(values) for values in data.grouped(groups=100, rows=2_000))
    groups = int(group.max()) + 1

    class Hierarchical(pyro.nn.PyroModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.intercept = sampled(dist.Normal(0.0, 1.0))
            self.slope = sampled(dist.Normal(0.0, 1.0))
            self.tau = sampled(dist.LogNormal(0.0, 1.0))
            self.sigma = sampled(dist.LogNormal(0.0, 1.0))
            self.offset = sampled(lambda self: dist.Normal(0.0, self.tau).expand([groups]).to_event(1))

        def forward(self, x: torch.Tensor, group: torch.Tensor, y: torch.Tensor) -> None:
            mean = self.intercept + self.slope * x + self.offset[group]
            sigma = self.sigma
            with pyro.plate("rows", len(x)):
                pyro.sample("y", dist.Normal(mean, sigma), obs=y)

    model = Hierarchical()
    return Program(model, pyro.infer.autoguide.AutoNormal(model), (x, group, y))


def bayesian_network(pyro: ModuleType) -> Program:
    """Regression by a network of two layers with normal priors on its weights, under AutoDiagonalNormal."""
    dist, nn = pyro.distributions, pyro.nn
    x, y = (torch.tensor(values) for values in data.curve())

    def layer(inputs: int, outputs: int) -> Any:
        made = nn.PyroModule[torch.nn.Linear](inputs, outputs)
        made.weight = nn.PyroSample(dist.Normal(0.0, 1.0).expand([outputs, inputs]).to_event(2))
        made.bias = nn.PyroSample(dist.Normal(0.0, 1.0).expand([outputs]).to_event(1))
        return made

    class Network(nn.PyroModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = layer(x.shape[1], data.UNITS)
            self.out = layer(data.UNITS, 1)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> None:
            mean = self.out(torch.tanh(self.hidden(x))).squeeze(-1)
            with pyro.plate("rows", len(x)):
                pyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    model = Network()
    return Program(model, pyro.infer.autoguide.AutoDiagonalNormal(model), (x, y))


PROGRAMS: dict[str, Callable[[ModuleType], Program]] = {
    "eight_schools_auto_normal": partial(with_auto_guide, program=eight_schools, guide="AutoNormal"),
    "eight_schools_auto_mvn": partial(with_auto_guide, program=eight_schools, guide="AutoMultivariateNormal"),
    "hierarchical_module": hierarchical_module,
    "bayesian_network": bayesian_network,
    "scalar_sites_auto": partial(with_auto_guide, program=scalar_sites, guide="AutoNormal"),
    "scalar_sites_auto_1000": partial(
        with_auto_guide, program=partial(scalar_sites, sites=data.MOST_SITES), guide="AutoNormal"
    ),
}
