"""Fits of one program by different ways, to be compared."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.distributions import constraints
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam
from tests import zoo

MODES = {"eager": False, "compiled": True, "run": True, "eager run": False}


def program(model, guide, *args):
    return zoo.Known("program", model, guide, args, 0.0, {})


def simple_guide(*args, **kwargs):
    loc = ember.param("loc", torch.tensor(0.3))
    scale = ember.param("scale", torch.tensor(0.8), constraint=constraints.positive)
    ember.sample("z", dist.Normal(loc, scale))


def simple_model(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(data)):
        ember.sample("x", dist.Normal(z, 0.5), obs=data)


DATA = (-0.4, 0.3, 1.1)


def data():
    return torch.tensor(DATA)


def new_svi(model=simple_model, guide=simple_guide, optim=None, loss=None, compile=True, **options):
    """An SVI with the interpreter behind it, from an empty store and a fixed seed."""
    ember.clear_param_store()
    ember.set_rng_seed(0)
    optim = optim or Adam({"lr": 0.05})
    svi = SVI(model, guide, optim, loss or Trace_ELBO(), compile=compile, **options)
    svi.programs.backend = Interpreter()
    return svi


def parameters():
    return {name: leaf.detach().clone() for name, leaf in ember.get_param_store().named_parameters()}


def state_of(svi) -> dict[str, Any]:
    """Parameters, optimizer state and random state, to see that nothing has changed."""
    return {"params": parameters(), "optim": svi.optim.get_state(), "rng": torch.get_rng_state()}


def assert_unchanged(svi, before):
    after = state_of(svi)
    torch.testing.assert_close(after["params"], before["params"], rtol=0, atol=0)
    torch.testing.assert_close(after["rng"], before["rng"], rtol=0, atol=0)
    assert after["optim"].keys() == before["optim"].keys()
    for name, state in after["optim"].items():
        torch.testing.assert_close(state["state"], before["optim"][name]["state"], rtol=0, atol=0)


def fit(known, how, optim=None, loss=None, backend=None, steps=200, after_step=None, args=None, **kwargs):
    """Losses and parameters after ``steps`` steps, by ``how``: eager, compiled, run or eager run."""
    ember.clear_param_store()
    ember.set_rng_seed(0)
    args = known.args if args is None else args
    svi = SVI(
        known.model,
        known.guide,
        optim() if optim else Adam({"lr": 0.02}),
        loss() if loss else Trace_ELBO(),
        compile=MODES[how],
    )
    if backend is not None:
        svi.programs.backend = backend
    if how in ("run", "eager run"):
        losses = svi.run(steps, *args, progress=False, **kwargs).losses.tolist()
    else:
        losses = []
        for _ in range(steps):
            losses.append(svi.step(*args, **kwargs))
            if after_step:
                after_step(svi)
    return losses, parameters(), svi


def assert_same(a, b, tolerance=1e-8):
    assert a[0] == pytest.approx(b[0], rel=tolerance, abs=tolerance)
    assert a[1].keys() == b[1].keys()
    for name in a[1]:
        torch.testing.assert_close(a[1][name], b[1][name], rtol=tolerance, atol=tolerance)


def assert_all_agree(known, backend=None, **options):
    eager = fit(known, "eager", **options)
    for how in ("compiled", "run"):
        if how == "run" and options.get("after_step"):
            continue
        captured = fit(known, how, backend=backend, **options)
        assert_same(captured, eager)
        report = ember.capture.explain(captured[2])
        assert report.num_captures == 1 and report.eager_calls == 1, report
    return eager
