"""Discrete states that are summed out: a hidden Markov model, and a mixture of two normals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.distributions.transforms import OrderedTransform
from tools.trust.posteriors.posterior import Data, Posterior, stream


def regimes_data() -> Data:
    """100 steps in two states that last."""
    draw, state, y = stream(121), 0, []
    for _ in range(100):
        if draw.uniform() < (0.15, 0.3)[state]:
            state = 1 - state
        y.append(draw.normal((1.0, 3.0)[state], 0.8))
    return {"y": np.array(y)}


def regimes(y: Tensor) -> None:
    """A hidden Markov model of two states, the second with the larger mean."""
    with ember.plate("from", 2):
        move = ember.sample("move", dist.Dirichlet(torch.tensor([2.0, 2.0])))
    low = ember.sample("low", dist.Normal(0.0, 5.0))
    gap = ember.sample("gap", dist.HalfNormal(5.0))
    noise = ember.sample("noise", dist.HalfNormal(2.0))
    mean = torch.stack([low, low + gap])
    state = torch.tensor(0)
    for t in ember.markov(range(len(y))):
        chances = torch.full((2,), 0.5) if t == 0 else move[state]
        state = ember.sample(f"state_{t}", dist.Categorical(chances), infer={"enumerate": "parallel"})
        ember.sample(f"y_{t}", dist.Normal(mean[state], noise), obs=y[t])


def mixture_data() -> Data:
    """150 numbers of two normals that overlap."""
    draw = stream(122)
    upper = draw.uniform(size=150) < 0.35
    return {"y": np.where(upper, draw.normal(2.5, 0.7, 150), draw.normal(0.0, 1.0, 150))}


def mixture(y: Tensor) -> None:
    """A mixture of two normals with ordered means, its labels enumerated."""
    weight = ember.sample("weight", dist.Beta(5.0, 5.0))
    ordered = dist.TransformedDistribution(dist.Normal(0.0, 2.0).expand([2]), OrderedTransform())
    mean = ember.sample("mean", ordered)
    noise = ember.sample("noise", dist.HalfNormal(2.0).expand([2]).to_event(1))
    with ember.plate("rows", len(y)):
        label = ember.sample(
            "label",
            dist.Categorical(torch.stack([weight, 1.0 - weight])),
            infer={"enumerate": "parallel"},
        )
        ember.sample("y", dist.Normal(mean[label], noise[label]), obs=y)


POSTERIORS = {
    "regimes": Posterior(regimes, regimes_data),
    "mixture": Posterior(mixture, mixture_data),
}
