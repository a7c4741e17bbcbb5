"""Guides written by hand with automatic parts."""

from __future__ import annotations

import io

import pytest
import torch

import ember
import ember.distributions as dist
from ember.contrib.easyguide import EasyGuide, easy_guide
from ember.distributions import constraints
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import init_to_mean
from ember.optim import Adam
from ember.poutine import trace

FULL, STEPS = 6, 3


def model(batch, subsample, full_size):
    drift = ember.sample("drift", dist.LogNormal(-1.0, 0.5))
    with ember.plate("data", full_size, subsample=subsample):
        z = 0.0
        for t in range(len(batch)):
            z = ember.sample(f"state_{t}", dist.Normal(z, drift))
            ember.sample(f"obs_{t}", dist.Bernoulli(logits=z), obs=batch[t])


def batch(rows):
    data = (torch.arange(STEPS * FULL).reshape(STEPS, FULL) % 2).float()
    return data[:, rows], rows, FULL


def train(guide):
    svi = SVI(model, guide, Adam({"lr": 0.02}), Trace_ELBO())
    return [svi.step(*batch(rows)) for rows in (torch.arange(0, 4), torch.arange(4, 6))]


def test_points():
    @easy_guide(model)
    def guide(self, batch, subsample, full_size):
        self.map_estimate("drift")
        with self.plate("data", full_size, subsample=subsample):
            self.group(match=r"state_[0-9]*").map_estimate()

    train(guide)
    assert guide.state_0.shape == (FULL,), "of full size, though the first batch was not"
    assert "guide.drift" in ember.get_param_store()


class PickledGuide(EasyGuide):
    def __init__(self, model):
        super().__init__(model)
        self.init = init_to_mean

    def guide(self, batch, subsample, full_size):
        self.map_estimate("drift")
        group = self.group(match=r"state_[0-9]*")
        with self.plate("data", full_size, subsample=subsample):
            loc = ember.param("loc", torch.zeros(full_size, STEPS), event_dim=1)
            group.sample("states", dist.Normal(loc, 0.1).to_event(1))


def test_groups_in_subsampled_plates():
    guide = PickledGuide(model)
    assert torch.tensor(train(guide)).isfinite().all()
    recorded = trace(guide).get_trace(*batch(torch.tensor([5, 1])))
    assert recorded.nodes["states"]["value"].shape == (2, STEPS)
    assert recorded.nodes["state_1"]["value"].shape == (2,)
    assert recorded.nodes["data"]["value"].tolist() == [5, 1]
    assert guide.group("state_[0-9]*").event_shape == (STEPS,)


def test_plates_by_name_alone_take_the_models_rows():
    @easy_guide(model)
    def guide(self, batch, subsample, full_size):
        self.map_estimate("drift")
        self.group("state").map_estimate()

    train(guide)
    recorded = trace(guide).get_trace(*batch(torch.tensor([5, 1])))
    assert recorded.nodes["data"]["value"].tolist() == [5, 1]


def test_pickling():
    guide = PickledGuide(model)
    train(guide)
    file = io.BytesIO()
    torch.save(guide, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert set(loaded.groups) == {"state_[0-9]*"} and loaded.groups["state_[0-9]*"].guide is loaded
    torch.testing.assert_close(loaded.drift, guide.drift)
    train(loaded)


def test_supports_of_fewer_free_entries():
    def mixed():
        ember.sample("p", dist.Dirichlet(torch.ones(3)))
        ember.sample("s", dist.Gamma(2.0, 1.0))

    @easy_guide(mixed)
    def guide(self):
        group = self.group()
        assert group.event_shape == (3,)
        loc = ember.param("loc", torch.zeros(3))
        scale = ember.param("scale", torch.ones(3), constraint=constraints.positive)
        packed, values = group.sample("z", dist.Normal(loc, scale).to_event(1))
        assert packed.shape == (3,) and values["p"].shape == (3,)

    assert torch.tensor(Trace_ELBO().loss(mixed, guide)).isfinite()


def test_the_density_is_that_of_the_packed_draw():
    def positive():
        ember.sample("x", dist.LogNormal(0.0, 1.0))
        ember.sample("y", dist.LogNormal(0.0, 1.0))

    @easy_guide(positive)
    def guide(self):
        self.group().sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    for _ in range(3):
        assert Trace_ELBO().loss(positive, guide) == pytest.approx(0.0, abs=1e-5)


def test_overlapping_plates():
    def right():
        with ember.plate("i", 2, dim=-2):
            ember.sample("x", dist.Normal(0.0, 1.0))
            with ember.plate("j", 3, dim=-1):
                ember.sample("y", dist.Normal(0.0, 1.0))

    @easy_guide(right)
    def guide(self):
        group = self.group()
        with self.plate("i", 2, dim=-2):
            group.sample("xy", dist.Normal(torch.zeros(2, 1, 4), 1.0).to_event(1))

    recorded = trace(guide).get_trace()
    assert recorded.nodes["x"]["value"].shape == (2, 1) and recorded.nodes["y"]["value"].shape == (2, 3)

    def left():
        with ember.plate("i", 2, dim=-1):
            ember.sample("x", dist.Normal(0.0, 1.0))
            with ember.plate("j", 3, dim=-2):
                ember.sample("y", dist.Normal(0.0, 1.0))

    @easy_guide(left)
    def wrong(self):
        self.group()

    with pytest.raises(ValueError, match="per-site plate -2 on left at site 'y'"):
        wrong()


def test_bad_input():
    @easy_guide(model)
    def nothing(self, *args):
        self.group("nosuch")

    with pytest.raises(ValueError, match="'nosuch' matched no model sites; there are: drift"):
        nothing(*batch(torch.arange(2)))

    @easy_guide(model)
    def shape(self, *args):
        self.group("drift").sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"expected \(1,\), actual \(2,\)"):
        shape(*batch(torch.arange(2)))

    def sequential():
        for i in ember.plate("steps", 2):
            ember.sample(f"x{i}", dist.Normal(0.0, 1.0))

    @easy_guide(sequential)
    def loop(self):
        pass

    with pytest.raises(NotImplementedError, match=r"EasyGuide does not support sequential pyro.plate"):
        loop()
