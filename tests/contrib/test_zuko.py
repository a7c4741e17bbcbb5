"""Flows of zuko in guides."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import ember
import ember.distributions as dist
from ember.contrib.zuko import ZukoToPyro
from ember.distributions.validation import switches_kept
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

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
    assert wrapped.sample().requires_grad is False and wrapped.has_rsample


def test_an_import_of_zuko_by_ember_changes_nothing_in_torch():
    program = (
        "import torch; from torch.distributions import Distribution as D\n"
        "before = D._validate_args, vars(D)['arg_constraints']\n"
        "from ember.infer.autoguide.packed.affine_autoregressive import affine_autoregressive\n"
        "affine_autoregressive(3)\n"
        "import sys; assert 'zuko' in sys.modules\n"
        "assert (D._validate_args, vars(D)['arg_constraints']) == before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
