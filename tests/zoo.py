"""Models with known answers: exact posterior means and standard deviations, and exact log evidence.

Each entry has a guide that can be the exact posterior, and the parameter values at which it is. All numbers are closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.distributions.testing import fakes

Tensor = torch.Tensor


@dataclass(frozen=True)
class Known:
    """A model, a guide, data, and what is known about them."""

    name: str
    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    log_evidence: float
    posterior: dict[str, tuple[Any, Any]]
    """Mean and standard deviation of each latent site."""
    at_optimum: dict[str, Tensor] = field(default_factory=dict)
    """Parameters that make the guide the exact posterior."""
    moments: Callable[[], dict[str, tuple[Any, Any]]] | None = None
    """Mean and standard deviation of the guide at its present parameters."""


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def beta_bernoulli(prior: tuple[float, float] = (2.0, 3.0), heads: int = 7, tails: int = 3) -> Known:
    data = torch.tensor([1.0] * heads + [0.0] * tails)

    def model(data: Tensor) -> None:
        fairness = ember.sample("fairness", dist.Beta(*prior))
        with ember.plate("data", len(data)):
            ember.sample("flip", dist.Bernoulli(fairness), obs=data)

    def guide(data: Tensor) -> None:
        a = ember.param("a", torch.tensor(1.5), constraint=constraints.positive)
        b = ember.param("b", torch.tensor(1.5), constraint=constraints.positive)
        ember.sample("fairness", dist.Beta(a, b))

    def moments() -> dict[str, tuple[float, float]]:
        return {"fairness": beta_moments(ember.param("a").item(), ember.param("b").item())}

    a, b = prior[0] + heads, prior[1] + tails
    return Known(
        "beta_bernoulli",
        model,
        guide,
        (data,),
        _log_beta(a, b) - _log_beta(*prior),
        {"fairness": beta_moments(a, b)},
        {"a": torch.tensor(a), "b": torch.tensor(b)},
        moments,
    )


def beta_moments(a: float, b: float) -> tuple[float, float]:
    return a / (a + b), math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))


def gamma_poisson(shape: float = 3.0, rate: float = 2.0) -> Known:
    data = torch.tensor([4.0, 1.0, 3.0, 2.0, 5.0])

    def model(data: Tensor) -> None:
        intensity = ember.sample("intensity", dist.Gamma(shape, rate))
        with ember.plate("data", len(data)):
            ember.sample("count", dist.Poisson(intensity), obs=data)

    def guide(data: Tensor) -> None:
        a = ember.param("shape", torch.tensor(2.0), constraint=constraints.positive)
        b = ember.param("rate", torch.tensor(2.0), constraint=constraints.positive)
        ember.sample("intensity", dist.Gamma(a, b))

    def moments() -> dict[str, tuple[float, float]]:
        a, b = ember.param("shape").item(), ember.param("rate").item()
        return {"intensity": (a / b, math.sqrt(a) / b)}

    n, total = len(data), data.sum().item()
    a, b = shape + total, rate + n
    log_evidence = (
        math.lgamma(a)
        - math.lgamma(shape)
        + shape * math.log(rate)
        - a * math.log(b)
        - torch.lgamma(data + 1).sum().item()
    )
    return Known(
        "gamma_poisson",
        model,
        guide,
        (data,),
        log_evidence,
        {"intensity": (a / b, math.sqrt(a) / b)},
        {"shape": torch.tensor(a), "rate": torch.tensor(b)},
        moments,
    )


def normal_normal(reparameterized: bool = True) -> Known:
    data = torch.tensor([1.2, -0.3, 0.8, 2.1])
    prior_scale, noise = 2.0, 0.7
    normal = dist.Normal if reparameterized else fakes.NonreparameterizedNormal

    def model(data: Tensor) -> None:
        mean = ember.sample("mean", dist.Normal(0.0, prior_scale))
        with ember.plate("data", len(data)):
            ember.sample("x", dist.Normal(mean, noise), obs=data)

    def guide(data: Tensor) -> None:
        loc = ember.param("loc", torch.tensor(0.3))
        scale = ember.param("scale", torch.tensor(0.8), constraint=constraints.positive)
        ember.sample("mean", normal(loc, scale))

    precision = prior_scale**-2 + len(data) * noise**-2
    mean, sd = (data.sum() * noise**-2 / precision).item(), precision**-0.5
    cov = noise**2 * torch.eye(len(data)) + prior_scale**2
    evidence = torch.distributions.MultivariateNormal(torch.zeros(len(data)), cov).log_prob(data).item()
    return Known(
        "normal_normal" if reparameterized else "normal_normal_score",
        model,
        guide,
        (data,),
        evidence,
        {"mean": (mean, sd)},
        {"loc": torch.tensor(mean), "scale": torch.tensor(sd)},
        lambda: {"mean": (ember.param("loc").item(), ember.param("scale").item())},
    )


def local_normals() -> Known:
    """A latent for each row of a plate: posteriors are independent, and vectors."""
    data = torch.tensor([0.5, -1.0, 2.0])
    noise = 0.5

    def model(data: Tensor) -> None:
        with ember.plate("rows", len(data)):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, noise), obs=data)

    def guide(data: Tensor) -> None:
        loc = ember.param("loc", torch.zeros(3))
        scale = ember.param("scale", torch.ones(3), constraint=constraints.positive)
        with ember.plate("rows", len(data)):
            ember.sample("z", dist.Normal(loc, scale))

    precision = 1 + noise**-2
    mean, sd = data * noise**-2 / precision, torch.full((3,), precision**-0.5)
    evidence = torch.distributions.Normal(0.0, math.sqrt(1 + noise**2)).log_prob(data).sum().item()
    return Known(
        "local_normals",
        model,
        guide,
        (data,),
        evidence,
        {"z": (mean, sd)},
        {"loc": mean, "scale": sd},
        lambda: {"z": (ember.param("loc").detach(), ember.param("scale").detach())},
    )


def bernoulli_mixture() -> Known:
    """A discrete latent for each row: gradients by score function, exact answers by enumeration."""
    data = torch.tensor([0.4, 1.7, -0.2, 0.9])
    prior, noise = 0.3, 0.8

    def model(data: Tensor) -> None:
        with ember.plate("rows", len(data)):
            z = ember.sample("z", dist.Bernoulli(prior))
            ember.sample("x", dist.Normal(z, noise), obs=data)

    def guide(data: Tensor) -> None:
        probs = ember.param("probs", torch.full((4,), 0.5), constraint=constraints.unit_interval)
        with ember.plate("rows", len(data)):
            ember.sample("z", dist.Bernoulli(probs))

    normal = torch.distributions.Normal
    log_joint = torch.stack(
        [
            math.log1p(-prior) + normal(0.0, noise).log_prob(data),
            math.log(prior) + normal(1.0, noise).log_prob(data),
        ]
    )
    probs = log_joint.softmax(0)[1]

    def moments() -> dict[str, tuple[Tensor, Tensor]]:
        q = ember.param("probs").detach()
        return {"z": (q, (q * (1 - q)).sqrt())}

    return Known(
        "bernoulli_mixture",
        model,
        guide,
        (data,),
        log_joint.logsumexp(0).sum().item(),
        {"z": (probs, (probs * (1 - probs)).sqrt())},
        {"probs": probs},
        moments,
    )


CONJUGATE = (beta_bernoulli, gamma_poisson, normal_normal, local_normals)
SCORE_FUNCTION = (lambda: normal_normal(reparameterized=False), bernoulli_mixture)
ALL = CONJUGATE + SCORE_FUNCTION
