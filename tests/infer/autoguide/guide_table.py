"""One row for each guide, and models with every kind of support, plates, and known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import ember
import ember.distributions as dist
from ember.infer import autoguide
from ember.poutine import block

Tensor = torch.Tensor
BY_NAME = (
    "AutoNormal",
    "AutoDelta",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
    "AutoLaplaceApproximation",
    "AutoStructured",
    "AutoGaussian",
    "AutoNormalMessenger",
    "AutoHierarchicalNormalMessenger",
    "AutoRegressiveMessenger",
)
"""Guides that are made of a model alone."""


@dataclass(frozen=True)
class Row:
    """A guide by name; what it cannot do is said here."""

    name: str
    make: Callable[..., Any]
    quantiles: bool = True
    median: bool = True
    is_point: bool = False
    is_messenger: bool = False


def guide_list(model: Any) -> Any:
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoNormal(block(model, hide=["simplex", "grid"])))
    guide.rest = autoguide.AutoDiagonalNormal(block(model, expose=["simplex", "grid"]))
    return guide


HIERARCHICAL = partial(autoguide.AutoHierarchicalNormalMessenger, hierarchical_sites=["local", "grid"])
IAF = partial(autoguide.AutoIAFNormal, hidden_dim=40, num_transforms=2)
STRUCTURED = partial(
    autoguide.AutoStructured,
    conditionals={
        **dict.fromkeys(("real", "a.positive", "half", "unit", "grid", "local"), "normal"),
        **dict.fromkeys(("vector", "simplex", "bounded"), "mvn"),
        "corr": "delta",
    },
    dependencies={"local": {"real": "linear", "half": "linear"}},
)

GUIDES = [
    Row("AutoNormal", autoguide.AutoNormal),
    Row("AutoDelta", autoguide.AutoDelta, quantiles=False, is_point=True),
    Row("AutoDiagonalNormal", autoguide.AutoDiagonalNormal),
    Row("AutoMultivariateNormal", autoguide.AutoMultivariateNormal),
    Row("AutoLowRankMultivariateNormal", autoguide.AutoLowRankMultivariateNormal),
    Row("AutoLaplaceApproximation", autoguide.AutoLaplaceApproximation, quantiles=False, is_point=True),
    Row("AutoIAFNormal", IAF, quantiles=False, median=False),
    Row("AutoGuideList", guide_list),
    Row("AutoStructured", STRUCTURED, quantiles=False),
    Row("AutoGaussian", autoguide.AutoGaussian, quantiles=False),
    Row("AutoNormalMessenger", autoguide.AutoNormalMessenger, quantiles=False, is_messenger=True),
    Row("AutoHierarchicalNormalMessenger", HIERARCHICAL, quantiles=False, is_messenger=True),
    Row(
        "AutoRegressiveMessenger",
        autoguide.AutoRegressiveMessenger,
        quantiles=False,
        median=False,
        is_messenger=True,
    ),
]


def kitchen(data: Tensor) -> None:
    """Every kind of support, names with dots, two nested plates, a plate with locals and data."""
    real = ember.sample("real", dist.Normal(0.0, 1.0))
    ember.sample("vector", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    ember.sample("a.positive", dist.Gamma(2.0, 1.0))
    half = ember.sample("half", dist.HalfNormal(1.0))
    ember.sample("unit", dist.Beta(2.0, 2.0))
    ember.sample("bounded", dist.Uniform(-1.0, 3.0))
    ember.sample("simplex", dist.Dirichlet(torch.full((3,), 2.0)))
    ember.sample("corr", dist.LKJCholesky(3, torch.tensor(1.5)))
    with ember.plate("rows", 4, dim=-2), ember.plate("cols", 3, dim=-1):
        ember.sample("grid", dist.LogNormal(0.0, 1.0))
    with ember.plate("data", len(data)):
        local = ember.sample("local", dist.Normal(real, half))
        ember.sample("obs", dist.Normal(local, 1.0), obs=data)


SHAPES = {
    "real": (),
    "vector": (3,),
    "a.positive": (),
    "half": (),
    "unit": (),
    "bounded": (),
    "simplex": (3,),
    "corr": (3, 3),
    "grid": (4, 3),
    "local": (5,),
}
DATA = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])


def data() -> Tensor:
    return DATA.to(torch.get_default_dtype())


@dataclass(frozen=True)
class Gaussian:
    """Linear regression with known noise: the posterior is normal, and the evidence is known."""

    model: Callable[..., Any]
    mean: Tensor
    cov: Tensor
    log_evidence: float


def linear_regression() -> Gaussian:
    x = torch.tensor([[1.0, 0.2, -0.5], [0.3, -1.0, 0.8], [1.5, 0.7, 0.4], [-0.6, 0.9, 1.1]])
    y = torch.tensor([0.7, -0.4, 1.9, 0.3])
    noise, prior = 0.8, 1.5

    def model() -> None:
        a = ember.sample("a", dist.Normal(0.0, prior))
        b = ember.sample("b", dist.Normal(torch.zeros(2), prior).to_event(1))
        weights = torch.cat([a[..., None], b], -1)
        mean = (x * weights[..., None, :]).sum(-1)
        ember.sample("y", dist.Normal(mean, noise).to_event(1), obs=y)

    precision = torch.eye(3) / prior**2 + x.T @ x / noise**2
    cov = torch.linalg.inv(precision)
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(4), noise**2 * torch.eye(4) + prior**2 * x @ x.T
    )
    return Gaussian(model, cov @ x.T @ y / noise**2, cov, marginal.log_prob(y).item())
