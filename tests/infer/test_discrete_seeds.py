"""Seeded posterior samples of discrete sites are Pyro's; its values of version 1.9.2 are written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import config_enumerate, infer_discrete

CHAIN = tensor([[0.7, 0.3], [0.4, 0.6]])
DATA = tensor([0.0, 1.0, 2.0, 0.3, 1.1])


def alone() -> None:
    with ember.plate("p", 3):
        ember.sample("a", dist.Categorical(tensor([0.3, 0.2, 0.5])))


def pair() -> None:
    ember.sample("a", dist.Bernoulli(0.3))
    ember.sample("b", dist.Bernoulli(0.3))


def dependent() -> None:
    a = ember.sample("a", dist.Bernoulli(0.3))
    b = ember.sample("b", dist.Bernoulli(0.3 + 0.2 * a))
    ember.sample("c", dist.Normal(b, 1.0), obs=tensor(1.0))


def mixture() -> None:
    rows = tensor([[0.7, 0.3, 0.1], [0.4, 0.6, 0.3], [0.1, 0.1, 0.5]])
    p = ember.sample("p", dist.Categorical(torch.ones(3)))
    with ember.plate("q", 4):
        a = ember.sample("a", dist.Categorical(rows[p]))
        b = ember.sample("b", dist.Bernoulli(0.2 + 0.1 * a))
        ember.sample("x", dist.Normal(a + b, 1.0), obs=torch.arange(4.0))


def chains_in_plates() -> None:
    z: Any = 0
    with ember.plate("outer", 3, dim=-2):
        w = ember.sample("w", dist.Bernoulli(0.4))
        with ember.plate("inner", 2, dim=-1):
            for i in ember.markov(range(4)):
                z = ember.sample(f"z{i}", dist.Categorical(CHAIN[z]))
                ember.sample(f"x{i}", dist.Normal(z.float() + w, 1.0), obs=DATA[i].expand(3, 2))


def two_chains() -> None:
    theta = ember.sample("theta", dist.Categorical(torch.ones(3)))
    z: Any = 0
    w: Any = 0
    for i in ember.markov(range(5)):
        w = ember.sample(f"w{i}", dist.Bernoulli(tensor([0.2, 0.7, 0.5])[theta] * (0.5 + 0.4 * w)))
        z = ember.sample(f"z{i}", dist.Categorical(CHAIN[z]))
        ember.sample(f"x{i}", dist.Normal(z.float() + w, 1.0), obs=DATA[i])


# Model, dims of its plates, the sites' values, and the next random number.
ROWS: list[tuple[Callable[[], None], int, list[list[float]], float]] = [
    (alone, 1, [[0, 1, 2], [2, 2, 0]], 0.161029),
    (pair, 0, [[0], [1]], 0.455628),
    (dependent, 0, [[1], [0]], 0.455628),
    (mixture, 1, [[2], [0, 1, 2, 3], [1, 0, 2, 2], [0, 0, 1, 1]], 0.815469),
    (
        chains_in_plates,
        2,
        [
            [0, 1, 2],
            [1, 0, 0],
            [0, 1],
            [0, 0, 1, 0, 0, 1],
            [0, 0, 1, 0, 0, 1],
            [0, 0, 1, 1, 1, 1],
            [0, 0, 1, 1, 1, 0],
        ],
        0.472450,
    ),
    (two_chains, 0, [[2], [0], [0], [0], [0], [1], [0], [0], [0], [1], [1]], 0.815469),
]


@pytest.mark.parametrize("model, dims, values, after", ROWS, ids=lambda row: getattr(row, "__name__", ""))
def test_samples_are_pyros(
    model: Callable[[], None], dims: int, values: list[list[float]], after: float
) -> None:
    ember.set_rng_seed(0)
    drawn = infer_discrete(config_enumerate(model), first_available_dim=-1 - dims)
    trace = poutine.trace(drawn).get_trace()
    found: list[Tensor] = [trace.nodes[name]["value"] for name in trace.stochastic_nodes]
    assert [value.flatten().tolist() for value in found] == values
    assert torch.rand(()).item() == pytest.approx(after, abs=1e-6)
