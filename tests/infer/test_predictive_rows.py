"""Predictions by rows: the draws of a loop, for programs that do not broadcast, in bounded memory."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Predictive, Trace_ELBO, WeighedPredictive

X = torch.linspace(-1.0, 1.0, 12).reshape(6, 2)


def model(x: Tensor, y: Tensor | None = None) -> Tensor:
    b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    scale = ember.sample("scale", dist.HalfNormal(1.0))
    mean = ember.deterministic("mean", x @ b)
    covariance = torch.exp(-((mean[:, None] - mean) ** 2)) + 0.5 * torch.eye(len(x))
    f = ember.sample("f", dist.MultivariateNormal(torch.zeros(len(x)), covariance))
    with ember.plate("rows", len(x)):
        k = ember.sample("k", dist.Poisson(f.exp()))
        ember.sample("y", dist.Normal(mean + f, scale), obs=y)
    return k


def guide(x: Tensor, y: Tensor | None = None) -> None:
    loc = ember.param("loc", torch.tensor([0.5, -0.5]))
    ember.sample("b", dist.Normal(loc, 0.1).to_event(1))
    ember.sample("scale", dist.LogNormal(0.0, 0.1))


def loop(number: int, names: list[str], draw: Any) -> dict[str, Tensor]:
    """What a user would write."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad():
        for i in range(number):
            trace = poutine.trace(poutine.condition(model, data=draw(i))).get_trace(X)
            for name in names:
                found[name].append(trace.nodes[name].value)
    return {name: torch.stack(values) for name, values in found.items()}


def of_guide(_: int) -> dict[str, Tensor]:
    trace = poutine.trace(guide).get_trace(X)
    return {name: trace.nodes[name].value for name in ("b", "scale")}


NAMES = ["b", "scale", "mean", "f", "k", "y"]


@pytest.mark.parametrize("number", [50, 2000], ids=["python", "native"])
def test_draws_are_those_of_a_loop(number: int) -> None:
    torch.manual_seed(0)
    expected = loop(number, NAMES, of_guide)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    found = Predictive(model, guide=guide, num_samples=number, by_rows=True, batch_size=700)(X)
    assert set(found) == set(NAMES)
    for name in NAMES:
        torch.testing.assert_close(
            found[name].reshape(expected[name].shape), expected[name], rtol=1e-3, atol=1e-3
        )
    assert torch.equal(after, torch.get_rng_state())
    if number == 50:
        assert all(torch.equal(found[name].reshape(expected[name].shape), expected[name]) for name in NAMES)


def test_given_samples_and_what_is_returned() -> None:
    samples = {"b": torch.randn(30, 2), "scale": torch.rand(30) + 0.5}
    torch.manual_seed(0)
    expected = loop(30, ["k", "y"], lambda i: {name: value[i] for name, value in samples.items()})
    torch.manual_seed(0)
    found = Predictive(model, samples, return_sites=["y", "_RETURN"], by_rows=True)(X)
    assert list(found) == ["y", "_RETURN"]
    assert torch.equal(found["y"], expected["y"])
    assert torch.equal(found["_RETURN"], expected["k"])
    rest = Predictive(model, samples, by_rows=True)(X)
    assert set(rest) == {"mean", "f", "k", "y"}


def test_shapes_are_those_of_other_modes() -> None:
    def plates(n: int = 4) -> None:
        a = ember.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("p", n):
            ember.sample("c", dist.Normal(a.sum(-1), 1.0))

    own = Predictive(plates, num_samples=5, by_rows=True)()
    other = Predictive(plates, num_samples=5)()
    assert {name: value.shape for name, value in own.items()} == {
        name: value.shape for name, value in other.items()
    }


def test_what_is_drawn_between_is_not_kept() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = [0]

    def wide() -> None:
        z = ember.sample("z", dist.Normal(torch.zeros(1000), 1.0).to_event(1))
        alive.append(weakref.ref(z))
        most[0] = max(most[0], sum(each() is not None for each in alive))
        ember.sample("y", dist.Normal(z.mean(), 1.0))

    found = Predictive(wide, guide=lambda: None, num_samples=60, return_sites=["y"], by_rows=True)()
    assert found["y"].shape == (60,)
    assert most[0] <= 3


def test_an_autoguide_in_a_store_of_its_own_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    y = torch.zeros(6)
    auto = ember.infer.autoguide.AutoNormal(poutine.block(model, hide=["k"]))
    svi = SVI(
        poutine.block(model, hide=["k"]),
        auto,
        ember.optim.Adam({"lr": 0.01}),
        Trace_ELBO(),
        param_store="own",
    )
    svi.run(5, X, y, progress=False)
    found = Predictive(model, guide=auto, num_samples=20, by_rows=True, progress=True, batch_size=8)(X)
    assert found["y"].shape == (20, 6)
    assert "20/20" in capsys.readouterr().err


def test_what_is_no_tensor_comes_from_the_loop() -> None:
    def text() -> str:
        ember.sample("z", dist.Normal(0.0, 1.0))
        return "text"

    found = Predictive(text, num_samples=3, return_sites=["_RETURN"], by_rows=True)()
    assert found["_RETURN"] == ["text"] * 3


def test_refusals() -> None:
    with pytest.raises(ValueError, match="choose one of them"):
        Predictive(model, num_samples=3, parallel=True, by_rows=True)
    with pytest.raises(ValueError, match="WeighedPredictive has no by_rows"):
        WeighedPredictive(model, guide=guide, num_samples=3, by_rows=True)(X)
