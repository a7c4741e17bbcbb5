"""Pyro's Jit names: each is its objective, with compiled steps."""

from __future__ import annotations

import importlib

import pytest
import torch

import ember
from ember import distributions as dist
from ember.capture import Interpreter
from ember.infer import SVI
from ember.pyro import jit

HOMES = {
    "JitTrace_ELBO": "trace_elbo",
    "JitTraceGraph_ELBO": "tracegraph_elbo",
    "JitTraceMeanField_ELBO": "trace_mean_field_elbo",
    "JitTraceEnum_ELBO": "traceenum_elbo",
}


@pytest.mark.parametrize("name", HOMES)
def test_it_is_at_pyros_paths(alias: None, name: str) -> None:
    home = importlib.import_module(f"pyro.infer.{HOMES[name]}")
    infer = importlib.import_module("pyro.infer")
    assert getattr(home, name) is getattr(infer, name) is getattr(jit, name)
    assert issubclass(getattr(jit, name), getattr(ember.infer, name.removeprefix("Jit")))


@pytest.mark.parametrize("name", HOMES)
def test_steps_are_compiled_and_agree(name: str) -> None:
    def model(x: torch.Tensor) -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: torch.Tensor) -> None:
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 1.0))

    losses = []
    for objective in (getattr(jit, name), getattr(ember.infer, name.removeprefix("Jit"))):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        options = {"strict_enumeration_warning": False, "ignore_jit_warnings": True}
        svi = SVI(model, guide, ember.optim.Adam({"lr": 0.1}), objective(**options))
        svi.programs.backend = Interpreter()
        losses.append([svi.step(torch.tensor(1.0)) for _ in range(4)])
        assert svi.compile is ("auto" if objective is getattr(jit, name) else None)
        assert svi.capture_report.num_captures == (1 if svi.compile else 0)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
