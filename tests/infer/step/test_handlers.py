"""Handlers around the step: those that repeat themselves are part of the program, and watched; others are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import ember
from ember import distributions as dist
from ember import optim, poutine
from ember.errors import CaptureError, Reason
from ember.infer import SVI, Trace_ELBO
from ember.poutine.messenger import Messenger
from ember.poutine.weights.scale_messenger import ScaleMessenger

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # "w" has no site in the guide, so that handlers can make of it what they please.
    pytest.mark.filterwarnings("ignore:Found "),
    pytest.mark.filterwarnings("ignore:pyro.module (prior|data) did not find"),
]
Handler = Any


def model() -> None:
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("w", dist.Normal(z, 1.0))
    with ember.plate("rows", 3):
        ember.sample("x", dist.Normal(z, 0.5), obs=torch.tensor([-0.4, 0.3, 1.1]))


def guide() -> None:
    loc = ember.param("loc", torch.tensor(0.3))
    scale = ember.param("scale", torch.tensor(0.8), constraint=dist.constraints.positive)
    ember.sample("z", dist.Normal(loc, scale))


class Tempered(ScaleMessenger):
    """A user's own, which leaves all to its base."""


class Shifted(Messenger):
    """A user's own, whose code reads what it has and a global."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] == "z" and not msg["is_observed"]:
            msg["value"] = msg["value"] + self.shift


class Counting(Shifted):
    """One that counts what it has seen, and computes with it."""

    def _pyro_post_sample(self, msg: Any) -> None:
        self.shift += 0.1
        super()._pyro_post_sample(msg)


@dataclass(frozen=True)
class Row:
    make: Callable[[], Handler]
    change: Callable[[Handler], object]
    captured: bool = True


def _rebound(name: str, value: Callable[[], Any]) -> Callable[[Handler], object]:
    return lambda handler: setattr(handler, name, value())


ROWS = {
    "scale": Row(lambda: poutine.scale(scale=0.5), _rebound("scale", lambda: 3.0)),
    "scale by a tensor": Row(
        lambda: poutine.scale(scale=torch.tensor(0.5)), lambda handler: handler.scale.fill_(3.0)
    ),
    "scale by another tensor": Row(
        lambda: poutine.scale(scale=torch.tensor(0.5)), _rebound("scale", lambda: torch.tensor(3.0))
    ),
    "mask": Row(lambda: poutine.mask(mask=True), _rebound("mask", lambda: False)),
    "mask by a tensor": Row(
        lambda: poutine.mask(mask=torch.tensor(True)), lambda handler: handler.mask.fill_(False)
    ),
    "block": Row(
        lambda: poutine.block(hide=["x"]), lambda handler: setattr(handler.hide_fn, "hide", ["z", "w"])
    ),
    "condition": Row(
        lambda: poutine.condition(data={"w": torch.tensor(1.0)}),
        lambda handler: handler.data.update(w=torch.tensor(-2.0)),
    ),
    "do": Row(lambda: poutine.do(data={"w": torch.tensor(1.0)}), lambda handler: handler.data.update(w=2.0)),
    "infer_config": Row(
        lambda: poutine.infer_config(config_fn=lambda site: {}),
        _rebound("config_fn", lambda: lambda site: {"scale": 2.0}),
    ),
    "uncondition": Row(poutine.uncondition, lambda handler: None),
    "broadcast": Row(poutine.broadcast, lambda handler: None),
    "seed": Row(lambda: poutine.seed(rng_seed=3), _rebound("rng_seed", lambda: 4)),
    "a subclass": Row(lambda: Tempered(0.5), _rebound("scale", lambda: 3.0)),
    "a user's own": Row(lambda: Shifted(0.5), _rebound("shift", lambda: 3.0)),
    "a user's own that counts": Row(lambda: Counting(0.0), _rebound("shift", lambda: 3.0), captured=False),
    "trace": Row(lambda: poutine.trace(param_only=True), lambda handler: None, captured=False),
    "replay": Row(lambda: poutine.replay(trace=_drawn(1.0)), _rebound("trace", lambda: _drawn(2.0)), captured=False),
    "condition on a trace": Row(
        lambda: poutine.condition(data=_traced(1.0)),
        lambda handler: handler.data.nodes["w"].update(value=torch.tensor(-2.0)),
        captured=False,
    ),
    "equalize": Row(lambda: poutine.equalize(sites=["absent"]), lambda handler: None, captured=False),
    "lift": Row(lambda: poutine.lift(prior={"scale": dist.LogNormal(0.0, 1.0)}), lambda handler: None, captured=False),
    "reparam": Row(lambda: poutine.reparam(config={}), lambda handler: None, captured=False),
}  # fmt: skip
REFUSED = {
    **{name: row.make for name, row in ROWS.items() if not row.captured and "user" not in name},
    # These run eagerly no better.
    "plate": lambda: ember.plate("outer", 2, dim=-3),
    "substitute": lambda: poutine.substitute(data={"loc": torch.tensor(1.0)}),
    "enum": lambda: poutine.enum(first_available_dim=-2),
    "escape": lambda: poutine.escape(escape_fn=lambda site: False),
}
each_row = pytest.mark.parametrize("name", list(ROWS))


def _traced(value: float) -> Any:
    return poutine.trace(
        lambda: ember.sample("w", dist.Normal(0.0, 1.0), obs=torch.tensor(value))
    ).get_trace()


def _drawn(value: float) -> Any:
    return poutine.trace(lambda: ember.sample("w", dist.Delta(torch.tensor(value)))).get_trace()


def new_svi(compile: Any) -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    return SVI(model, guide, optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=compile, backend="interpreter")


def steps(svi: SVI, how: str, *handlers: Handler, each: bool = False) -> list[float]:
    """Four losses, inside of handlers that are entered once, or anew for each step."""
    if each:
        return [loss for _ in range(4) for loss in _inside(svi, how, handlers, 1)]
    return _inside(svi, how, handlers, 4)


def _inside(svi: SVI, how: str, handlers: tuple[Handler, ...], count: int) -> list[float]:
    with ExitStack() as stack:
        for handler in handlers:
            stack.enter_context(handler)
        if how == "run":
            return svi.run(count, progress=False).losses.tolist()
        return [svi.step() for _ in range(count)]


def fitted(row: Row, compile: Any, how: str) -> tuple[SVI, list[float]]:
    """With the handler, changed, gone, another one in its place, a new one like it, and two of them."""
    svi, handler = new_svi(compile), row.make()
    losses = steps(svi, how, handler)
    row.change(handler)
    losses += steps(svi, how, handler, each=True)
    losses += steps(svi, how)
    losses += steps(svi, how, Tempered(1.7))
    losses += steps(svi, how, row.make())
    losses += steps(svi, how, Tempered(1.7), handler)
    return svi, losses + steps(svi, how)


@each_row
@pytest.mark.parametrize("how", ["step", "run"])
def test_a_handler_around_the_step(name: str, how: str) -> None:
    row = ROWS[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SVI runs eagerly")
        _, expected = fitted(row, False, how)
        _, found = fitted(row, "auto" if how == "step" else None, how)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@each_row
def test_which_are_captured(name: str) -> None:
    row = ROWS[name]
    svi, handler = new_svi(True), row.make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in REFUSED:
            with pytest.raises(CaptureError):
                steps(svi, "step", handler)
        else:
            steps(svi, "step", handler)
    assert ember.capture.explain(svi).num_captures == row.captured


@pytest.mark.parametrize("name", list(REFUSED))
def test_the_reason_names_the_handler(name: str) -> None:
    handler = REFUSED[name]()
    with handler, pytest.raises(CaptureError, match=f"of which {type(handler).__name__} acts") as raised:
        new_svi(True).step()
    assert raised.value.reason is Reason.HANDLERS


def test_one_handler_that_stays_costs_no_second_look_at_all() -> None:
    svi, handler = new_svi(True), poutine.scale(scale=0.5)
    with handler:
        for _ in range(4):
            svi.step()
        assert svi._warm is not None and svi._warm.inputs((), {}) is not None
        handler.scale = 2.0
        assert svi._warm.inputs((), {}) is None
    handler.scale = 0.5
    assert svi._warm.inputs((), {}) is None


def test_seeds_around_single_steps_need_one_program() -> None:
    """As a test of models does that puts a seed around each call."""

    def losses(compile: Any) -> tuple[SVI, list[float]]:
        svi = new_svi(compile)
        return svi, [
            loss for seed in range(6) for loss in _inside(svi, "step", (poutine.seed(rng_seed=seed),), 1)
        ]

    svi, found = losses(True)
    assert found == pytest.approx(losses(False)[1], rel=1e-9)
    assert ember.capture.explain(svi).num_captures == 1
