"""Guides that draw in the run of the model."""

from __future__ import annotations

import pickle

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import (
    AutoHierarchicalNormalMessenger,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
)
from ember.optim import Adam
from ember.poutine import trace
from ember.poutine.rewriting.guide import GuideMessenger

pytestmark = pytest.mark.usefixtures("float64")


def model(data):
    a = ember.sample("a", dist.Normal(0.0, 1.0))
    with ember.plate("data", len(data)):
        b = ember.sample("b", dist.Normal(a, 1.0))
        ember.deterministic("twice", 2 * b, event_dim=0)
        ember.sample("obs", dist.Normal(b, 0.5), obs=data)


DATA = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


def test_the_values_of_all_sample_sites_come_back():
    values = AutoNormalMessenger(model)(DATA)
    assert set(values) == {"a", "b", "twice", "obs"}
    torch.testing.assert_close(values["twice"], 2 * values["b"])
    assert values["obs"] is DATA


def test_both_traces_come_from_one_run():
    guide = AutoNormalMessenger(model)
    guide(DATA)
    model_trace, guide_trace = guide.get_traces()
    assert set(guide_trace.nodes) == {"a", "b"}
    assert {"a", "b", "twice", "obs"} <= set(model_trace.nodes)
    assert model_trace.nodes["b"]["value"] is guide_trace.nodes["b"]["value"]
    torch.testing.assert_close(model_trace.nodes["b"]["fn"].mean, guide_trace.nodes["a"]["value"].expand(3))


def test_parameters_have_the_guides_name():
    AutoNormalMessenger(model).prepare(DATA)
    assert list(ember.get_param_store()) == [
        f"AutoNormalMessenger.{group}.{name}" for name in "ab" for group in ("locs", "scales")
    ]


def test_a_posterior_in_terms_of_what_is_upstream():
    class Guide(AutoNormalMessenger):
        def get_posterior(self, name, prior):
            if name == "b":
                weight = ember.param("weight", torch.tensor(0.5))
                (data,), _ = self.args_kwargs
                noise = ember.sample("noise", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
                return dist.Normal(weight * self.upstream_value("a") + data + 0 * noise, 0.1)
            return super().get_posterior(name, prior)

    guide = Guide(model)
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())
    svi.step(DATA)
    assert "weight" in ember.get_param_store()
    model_trace, guide_trace = guide.get_traces()
    assert "noise" in guide_trace.nodes and "noise" not in model_trace.nodes
    guide(DATA)
    assert not hasattr(guide, "args_kwargs")


def test_a_value_instead_of_a_distribution():
    class Point(GuideMessenger):
        def get_posterior(self, name, prior):
            return torch.ones(prior.shape())

    guide = Point(model)
    assert torch.equal(guide(DATA)["b"], torch.ones(3))
    assert torch.tensor(Trace_ELBO().loss(model, guide, DATA)).isfinite()
    assert guide.get_traces()[1].nodes["b"]["fn"].log_prob(torch.ones(3)).sum() == 0.0


def test_hierarchical_guides_follow_the_prior_mean():
    guide = AutoHierarchicalNormalMessenger(model, init_scale=1e-9).prepare(DATA)
    assert torch.equal(guide.weights.b, torch.ones(3))
    guide.locs.b = torch.tensor([0.0, 1.0, 2.0])
    values = guide(DATA)
    torch.testing.assert_close(values["b"], values["a"] + torch.tensor([0.0, 1.0, 2.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(guide.median(DATA)["b"], values["b"], rtol=0, atol=1e-6)


def test_hierarchical_sites_and_scalar_weights():
    class Shared(AutoHierarchicalNormalMessenger):
        weight_type = "scalar"

    guide = Shared(model, hierarchical_sites=["b"], init_weight=0.3).prepare(DATA)
    assert guide.weights.b.shape == () and not hasattr(guide.weights, "a")
    torch.testing.assert_close(guide.weights.b.detach(), torch.tensor(0.3))


def test_sites_without_a_prior_mean_cannot_be_followed():
    def heavy():
        ember.sample("tau", dist.HalfCauchy(1.0))

    with pytest.raises(ValueError, match=r"'tau' has no finite prior mean.*hierarchical_sites"):
        AutoHierarchicalNormalMessenger(heavy)()


def test_the_start_does_not_depend_on_the_weight():
    for weight in (0.1, 2.0):
        ember.clear_param_store()
        guide = AutoHierarchicalNormalMessenger(model, init_weight=weight, init_scale=1e-9)
        assert abs(guide(DATA)["a"]) < 1e-6


def test_regressive_guides_without_reparameterized_prior_have_right_gradients():
    """Without a pathwise derivative, the density at the draw must depend on the parameters."""

    def scored():
        ember.sample("x", dist.Normal(0.0, 1.0).has_rsample_(False))

    guide = AutoRegressiveMessenger(scored).prepare()
    guide.locs.x, guide.scales.x = torch.tensor(0.4), torch.tensor(0.5)
    Trace_ELBO().loss_and_grads(scored, guide)
    assert guide.locs._parameters["x_unconstrained"].grad.abs() > 0


def test_pickles_keep_the_model():
    guide = pickle.loads(pickle.dumps(AutoNormalMessenger(model).prepare(DATA)))
    assert guide.model is model
    assert set(guide(DATA)) == {"a", "b", "twice", "obs"}


def test_recorded_from_outside():
    guide = AutoNormalMessenger(model).prepare(DATA)
    recorded = trace(guide).get_trace(DATA)
    assert recorded.nodes["a"]["infer"]["prior"].variance == 1.0
    assert recorded.nodes["obs"]["is_observed"]
