"""Models whose posterior is known, and one that no normal fits."""

from __future__ import annotations

import torch
from torch import Tensor

import ember
import ember.distributions as dist

FLIPS = torch.tensor([1.0] * 7 + [0.0] * 3)
X = torch.stack([torch.ones(30), torch.linspace(-1, 1, 30)], -1)
Y = X @ torch.tensor([1.0, -2.0]) + 0.5 * torch.sin(torch.arange(30.0) * 7)


def coin(flips: Tensor) -> None:
    fairness = ember.sample("fairness", dist.Beta(2.0, 2.0))
    ember.deterministic("odds", fairness / (1 - fairness))
    with ember.plate("flips", len(flips)):
        ember.sample("flip", dist.Bernoulli(fairness), obs=flips)


def line(x: Tensor, y: Tensor, noise: float = 0.5) -> None:
    weights = ember.sample("weights", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Normal(x @ weights, noise), obs=y)


def line_posterior(x: Tensor, y: Tensor, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the weights of :func:`line`."""
    precision = x.T.double() @ x.double() / noise**2 + torch.eye(2).double() / 9
    covariance = precision.inverse()
    return covariance @ (x.T.double() @ y.double()) / noise**2, covariance


def mixture(y: Tensor) -> None:
    """Which of two known components each observation is of, summed out; the share is sought."""
    share = ember.sample("share", dist.Beta(1.0, 1.0))
    with ember.plate("rows", len(y)):
        component = ember.sample("component", dist.Bernoulli(share))
        ember.sample("y", dist.Normal(4.0 * component, 1.0), obs=y)


def all_heads(flips: Tensor) -> None:
    """Every flip the same: the odds have a posterior without a mean."""
    logit = ember.sample("logit", dist.Normal(0.0, 10.0))
    ember.sample("flips", dist.Bernoulli(logits=logit).expand([len(flips)]).to_event(1), obs=flips)
    ember.deterministic("fairness", logit.sigmoid())
    ember.deterministic("odds", logit.exp())


def subsampled(y: Tensor) -> None:
    loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    with ember.plate("rows", len(y), subsample_size=5) as rows:
        ember.sample("y", dist.Normal(loc, 1.0), obs=y[rows])


def funnel() -> None:
    """A funnel in the manner of Neal (2003), as written: no normal fits it; through noise it is one."""
    width = ember.sample("width", dist.Normal(0.0, 1.0))
    with ember.plate("many", 9):
        ember.sample("x", dist.Normal(0.0, width.exp()))


def cauchy() -> None:
    """No mean, no standard deviation."""
    ember.sample("x", dist.Cauchy(0.0, 1.0))
