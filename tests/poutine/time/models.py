"""State space models with a loop over time, and what they are by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import ember
import ember.distributions as dist

STEPS = 12
LEVEL, NOISE = 0.3, 0.5


def data(seed: int = 0, *batch: int) -> torch.Tensor:
    return torch.randn(STEPS, *batch, generator=torch.Generator().manual_seed(seed))


def local_level(x):
    def step(level, x):
        level = ember.sample("z", dist.Normal(level, LEVEL))
        ember.sample("x", dist.Normal(level, NOISE), obs=x)
        return level, level

    return ember.scan(step, torch.tensor(0.0), x)


def local_level_by_hand(x, z):
    before = torch.cat([torch.zeros(1), z[:-1]])
    return dist.Normal(before, LEVEL).log_prob(z).sum() + dist.Normal(z, NOISE).log_prob(x).sum()


def second_order(x):
    def step(carry, x):
        one, two = carry
        z = ember.sample("z", dist.Normal(0.6 * one - 0.2 * two, LEVEL))
        ember.sample("x", dist.Normal(z, NOISE), obs=x)
        return (z, one), z

    return ember.scan(step, (torch.tensor(0.5), torch.tensor(-0.5)), x)


def second_order_by_hand(x, z):
    total = torch.tensor(0.0)
    one, two = torch.tensor(0.5), torch.tensor(-0.5)
    for k in range(STEPS):
        total = total + dist.Normal(0.6 * one - 0.2 * two, LEVEL).log_prob(z[k])
        total = total + dist.Normal(z[k], NOISE).log_prob(x[k])
        one, two = z[k], one
    return total


def innovations(x):
    """The carry is computed: steps have to run one by one."""

    def step(level, x):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        level = 0.9 * level + LEVEL * z
        ember.sample("x", dist.Normal(level, NOISE), obs=x)
        return level, level

    return ember.scan(step, torch.tensor(0.0), x)


def innovations_by_hand(x, z):
    total, level = dist.Normal(0.0, 1.0).log_prob(z).sum(), torch.tensor(0.0)
    for k in range(STEPS):
        level = 0.9 * level + LEVEL * z[k]
        total = total + dist.Normal(level, NOISE).log_prob(x[k])
    return total


def autoregression(x):
    """Observations depend on observations."""

    def step(before, x):
        z = ember.sample("z", dist.Normal(0.8 * before, LEVEL))
        ember.sample("x", dist.StudentT(4.0, z, NOISE), obs=x)
        return x, None

    return ember.scan(step, torch.tensor(1.0), x)


def autoregression_by_hand(x, z):
    before = torch.cat([torch.ones(1), x[:-1]])
    return dist.Normal(0.8 * before, LEVEL).log_prob(z).sum() + dist.StudentT(4.0, z, NOISE).log_prob(x).sum()


def vector_state(x):
    """A state of two entries, rotated in each step."""
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])

    def step(state, x):
        state = ember.sample("z", dist.MultivariateNormal(turn @ state, scale_tril=LEVEL * torch.eye(2)))
        ember.deterministic("double", 2 * state)
        ember.factor("wall", -(state[0] ** 2))
        ember.sample("x", dist.Normal(state[0], NOISE), obs=x)
        return state, state.sum()

    return ember.scan(step, torch.zeros(2), x)


def vector_state_by_hand(x, z):
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    before = torch.cat([torch.zeros(1, 2), z[:-1]]) @ turn.T
    total = dist.Normal(before, LEVEL).log_prob(z).sum() - (z[:, 0] ** 2).sum()
    return total + dist.Normal(z[:, 0], NOISE).log_prob(x).sum()


@dataclass(frozen=True)
class Row:
    model: Callable[..., Any]
    by_hand: Callable[..., torch.Tensor]
    event_shape: tuple[int, ...] = ()
    at_once: bool = True


ROWS = {
    "local_level": Row(local_level, local_level_by_hand),
    "second_order": Row(second_order, second_order_by_hand),
    "innovations": Row(innovations, innovations_by_hand, at_once=False),
    "autoregression": Row(autoregression, autoregression_by_hand),
    "vector_state": Row(vector_state, vector_state_by_hand, event_shape=(2,)),
}
