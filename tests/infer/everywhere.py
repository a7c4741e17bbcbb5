"""Programs of many kinds, and one fit of each by every way to run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.distributions.transforms import affine_autoregressive
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.nn import PyroModule, PyroParam, PyroSample
from ember.optim import Adam

STEPS = 110
TOLERANCE = 1e-8
Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)
ROWS = torch.linspace(-1, 2, 20, dtype=torch.float64)
X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)


@dataclass(frozen=True)
class Program:
    """Makes a model, a guide and their arguments, anew for each fit; and what they are fitted by."""

    make: Callable[[], tuple[Any, Any, tuple[Any, ...]]]
    objective: Callable[[], Any] = Trace_ELBO
    optim: Callable[[], Any] = field(default=lambda: Adam({"lr": 0.01, "eps": 1e-4}))
    """With a large ``eps``: else Adam makes full steps of gradients that are rounding error alone."""


@dataclass(frozen=True)
class Fit:
    losses: torch.Tensor
    params: dict[str, torch.Tensor]
    random_state: torch.Tensor
    svi: SVI


def fit(program: Program, how: str, backend: Any = None, steps: int = STEPS) -> Fit:
    """``how``: eager, compiled (one step a call) or run (one call)."""
    ember.clear_param_store()
    ember.set_rng_seed(0)
    model, guide, args = program.make()
    compile: Any = {"eager": False, "auto": "auto"}.get(how, True)
    svi = SVI(model, guide, program.optim(), program.objective(), compile=compile, backend=backend)
    if how == "run":
        losses = svi.run(steps, *args, progress=False).losses
    else:
        losses = torch.tensor([svi.step(*args) for _ in range(steps)], dtype=torch.float64)
    params = {name: leaf.detach().clone() for name, leaf in ember.get_param_store().named_parameters()}
    return Fit(losses, params, torch.get_rng_state(), svi)


def assert_same(one: Fit, other: Fit) -> None:
    """Losses, parameters and draws."""
    torch.testing.assert_close(one.losses, other.losses, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(one.params, other.params, rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.equal(one.random_state, other.random_state)


def assert_everywhere(
    program: Program, hows: tuple[str, ...] = ("compiled", "run"), backend: str = "native"
) -> None:
    """Compiled by a backend, in one program, gives the numbers of eager steps."""
    eager = fit(program, "eager")
    assert not torch.isnan(eager.losses).any()
    assert eager.params, "nothing to train"
    for how in hows:
        compiled = fit(program, how, backend)
        report = ember.capture.explain(compiled.svi)
        assert [capture.backend for capture in report.captures] == [backend], report
        assert report.captures[0].optimizer == "captured", report
        # The first call of a kind of arguments is eager, and the second is checked.
        assert report.captures[0].calls == STEPS - 2 and report.eager_calls == 1, report
        assert_same(compiled, eager)


def hierarchical(y: torch.Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 5.0))
    with ember.plate("groups", 2, dim=-2):
        tau = ember.sample("tau", dist.HalfNormal(5.0))
        with ember.plate("schools", 4, dim=-1):
            theta = ember.sample("theta", dist.Normal(mu, tau))
            ember.sample("y", dist.Normal(theta, 1.0), obs=y.reshape(2, 4))


def subsampled(rows: torch.Tensor) -> None:
    m = ember.sample("m", dist.Normal(0.0, 1.0))
    s = ember.sample("s", dist.LogNormal(0.0, 1.0))
    with ember.plate("rows", 20, subsample_size=6) as i:
        z = ember.sample("z", dist.Normal(m, s))
        ember.sample("x", dist.Normal(z, 0.5), obs=rows[i])


def over_time(series: torch.Tensor) -> None:
    scale = ember.sample("scale", dist.LogNormal(-1.0, 0.5))

    def step(level: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        level = ember.sample("level", dist.Normal(level, scale))
        ember.sample("x", dist.Normal(level, 0.5), obs=x)
        return level, None

    ember.scan(step, torch.zeros((), dtype=series.dtype), series)


class Network(PyroModule):
    """One layer with random weights, one with trained ones, and a trained scale."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = PyroModule[torch.nn.Linear](2, 4)
        self.hidden.weight = PyroSample(dist.Normal(0.0, 1.0).expand([4, 2]).to_event(2))
        self.hidden.bias = PyroSample(dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        self.out = PyroModule[torch.nn.Linear](4, 1)
        self.noise = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> None:
        mean = self.out(torch.tanh(self.hidden(x))).squeeze(-1)
        with ember.plate("data", len(x)):
            ember.sample("y", dist.Normal(mean, self.noise), obs=y)


MODELS: dict[str, tuple[Callable[[], Any], tuple[Any, ...], str]] = {
    "hierarchical": (lambda: hierarchical, (Y,), "theta"),
    "subsampled": (lambda: subsampled, (ROWS,), "z"),
    "over_time": (lambda: over_time, (ROWS,), "level"),
    "network": (Network, (X, X.sum(-1)), "hidden.weight"),
}
"""How to make it, its arguments, and a site for a part of its own in a list of guides."""


def parts(model: Any, site: str) -> Any:
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoNormal(poutine.block(model, hide=[site])))
    guide.append(autoguide.AutoDelta(poutine.block(model, expose=[site])))
    return guide


def flow(model: Any, site: str) -> Any:
    return autoguide.AutoNormalizingFlow(model, partial(affine_autoregressive, hidden_dims=[32]))


GUIDES: dict[str, Callable[[Any, str], Any]] = {
    "AutoNormal": lambda model, site: autoguide.AutoNormal(model),
    "AutoDelta": lambda model, site: autoguide.AutoDelta(model),
    "AutoDiagonalNormal": lambda model, site: autoguide.AutoDiagonalNormal(model),
    "AutoMultivariateNormal": lambda model, site: autoguide.AutoMultivariateNormal(model),
    "AutoLowRankMultivariateNormal": lambda model, site: autoguide.AutoLowRankMultivariateNormal(model),
    "AutoLaplaceApproximation": lambda model, site: autoguide.AutoLaplaceApproximation(model),
    "AutoIAFNormal": lambda model, site: autoguide.AutoIAFNormal(model, hidden_dim=[32]),
    "AutoNormalizingFlow": flow,
    "AutoGaussian": lambda model, site: autoguide.AutoGaussian(model),
    "AutoStructured": lambda model, site: autoguide.AutoStructured(
        model, conditionals="normal", dependencies="linear"
    ),
    "AutoNormalMessenger": lambda model, site: autoguide.AutoNormalMessenger(model),
    "AutoHierarchicalNormalMessenger": lambda model, site: autoguide.AutoHierarchicalNormalMessenger(model),
    "AutoRegressiveMessenger": lambda model, site: autoguide.AutoRegressiveMessenger(model),
    "AutoGuideList": parts,
}
