"""A model with plates, events, a mask, a scale, a factor and a deterministic site."""

from __future__ import annotations

import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine

Y = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]])
HIDDEN = torch.tensor([True, True, False])


def model(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ember.deterministic("twice", 2 * mu)
    ember.factor("push", -mu * mu)
    with ember.plate("groups", 2, dim=-2):
        b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("rows", 3, dim=-1), poutine.scale(scale=7.0), poutine.mask(mask=HIDDEN):
            ember.sample("y", dist.Normal(mu + b[..., 0], 2.0), obs=y)


def draws(number: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "mu": torch.randn(number, generator=generator),
        "b": torch.randn(number, 2, 1, 2, generator=generator),
    }
