"""Flows of zuko in guides."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

import ember
import ember.distributions as dist
from ember.contrib.zuko import ZukoToPyro
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam


@contextmanager
def switches_kept():
    """Undo what an import does to torch's base class of distributions: zuko, for one, switches its validation off for all."""
    base = torch.distributions.Distribution
    before = {name: vars(base)[name] for name in ("_validate_args", "arg_constraints")}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(base, name, value)


with switches_kept():
    import zuko


@pytest.fixture(autouse=True)
def as_zuko_leaves_torch(monkeypatch):
    """Importing zuko does this to all distributions; other tests must not see it."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)
    monkeypatch.setattr(torch.distributions.Distribution, "arg_constraints", {})


def test_a_flow_as_a_guide():
    flow = zuko.flows.MAF(2, transforms=1, hidden_features=(8,))
    flow.transform = flow.transform.inv  # from noise to values in one pass

    def model():
        ember.sample("x", dist.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]])))

    def guide():
        ember.module("flow", flow)
        ember.sample("x", ZukoToPyro(flow()))

    svi = SVI(model, guide, Adam({"lr": 0.02}), Trace_ELBO(num_particles=16, vectorize_particles=True))
    losses = torch.tensor([svi.step() for _ in range(150)])
    # A normal in two dims is in the family, and the evidence is 1.
    assert losses[-30:].mean() < 0.15 < losses[:10].mean()


def test_the_density_of_a_draw():
    flow = zuko.flows.MAF(3, transforms=2, hidden_features=(8,))()
    wrapped = ZukoToPyro(flow)
    drawn = wrapped.rsample((5,))
    torch.testing.assert_close(wrapped.log_prob(drawn), flow.log_prob(drawn), rtol=1e-3, atol=1e-4)
    assert wrapped.event_shape == (3,) and wrapped.expand([4]).batch_shape == (4,)
    assert wrapped().shape == (3,) and wrapped(shape=(2,)).shape == (2, 3)
    assert wrapped.sample().requires_grad is False and wrapped.has_rsample
