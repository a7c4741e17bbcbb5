"""Variational inference in the fewest lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import ember.distributions as dist
from ember.contrib import minipyro as mini


@pytest.fixture(autouse=True)
def empty_store() -> Iterator[None]:
    mini.PARAM_STORE.clear()
    yield
    mini.PARAM_STORE.clear()
    assert not mini.PYRO_STACK


def model(data: torch.Tensor) -> None:
    z = mini.sample("z", dist.Normal(0.0, 1.0))
    with mini.plate("data", len(data), -1):
        mini.sample("x", dist.Normal(z, 1.0), obs=data)


def guide(data: torch.Tensor) -> None:
    loc = mini.param("loc", torch.tensor(0.0))
    scale = mini.param("scale", torch.tensor(1.0), dist.constraints.positive)
    mini.sample("z", dist.Normal(loc, scale))


@pytest.mark.parametrize("loss", [mini.Trace_ELBO(), mini.JitTrace_ELBO(ignore_jit_warnings=True)])
@pytest.mark.filterwarnings("ignore")  # torch.jit says that it is old
def test_it_finds_the_posterior(loss: object) -> None:
    data = torch.tensor([1.0, 2.0, 3.0])
    torch.manual_seed(0)
    svi = mini.SVI(model, guide, mini.Adam({"lr": 0.02}), loss)
    path = []
    for _ in range(500):
        svi.step(data)
        path.append([mini.param(name).item() for name in ("loc", "scale")])
    # Normal prior and data: precision 4, mean 6 / 4.
    loc, scale = torch.tensor(path[200:]).mean(0).tolist()
    assert loc == pytest.approx(1.5, abs=0.08) and scale == pytest.approx(0.5, abs=0.08)


def test_messages_and_handlers() -> None:
    with mini.trace() as outer, mini.block(hide_fn=lambda msg: msg["name"] == "hidden"):
        value = mini.sample("x", dist.Normal(0.0, 1.0))
        mini.sample("hidden", dist.Normal(0.0, 1.0))
    assert list(outer) == ["x"] and outer["x"]["value"] is value
    replayed = mini.replay(lambda: mini.sample("x", dist.Normal(0.0, 1.0)), outer)
    assert replayed() is value
    draws = [mini.seed(lambda: mini.sample("x", dist.Normal(0.0, 1.0)), 3)() for _ in range(2)]
    assert draws[0] == draws[1]
    with mini.trace() as tr, mini.plate("rows", 3, -2), mini.plate("columns", 2, -1):
        mini.sample("y", dist.Normal(0.0, 1.0))
    assert tr["y"]["value"].shape == (3, 2)
    assert list(mini.plate("loop", 2, -1)) == [0, 1]


def test_bad_programs_are_told_so() -> None:
    with pytest.raises(NotImplementedError, match="requires a dim"):
        mini.plate("data", 3)
    with pytest.raises(NotImplementedError, match="event_dim"):
        mini.param("p", torch.zeros(2), event_dim=1)
    with pytest.raises(ValueError, match="'p' does not exist yet"):
        mini.param("p")
    with pytest.raises(AssertionError, match="'x' comes twice"), mini.trace():
        for _ in range(2):
            mini.sample("x", dist.Normal(0.0, 1.0))
