"""Guides made of parts."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import (
    AutoCallable,
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGuide,
    AutoGuideList,
    AutoNormal,
)
from ember.nn import PyroParam
from ember.optim import Adam
from ember.poutine import block, trace


def model():
    ember.sample("x", dist.Normal(0.0, 1.0))
    ember.sample("y", dist.LogNormal(0.0, 1.0))
    with ember.plate("p", 3):
        ember.sample("z", dist.Beta(2.0, 2.0))


def guide_x():
    loc = ember.param("x_loc", torch.tensor(1.0))
    ember.sample("x", dist.Normal(loc, 0.1))


class GuideX(AutoGuide):
    def __init__(self, model):
        super().__init__(model)
        self.x_loc = nn.Parameter(torch.tensor(1.0))
        self.x_scale = PyroParam(torch.tensor(0.1), constraint=constraints.positive)

    def forward(self):
        return {"x": ember.sample("x", dist.Normal(self.x_loc, self.x_scale))}

    def median(self):
        return {"x": self.x_loc.detach()}


def test_parts_by_position_and_by_name():
    guide = AutoGuideList(model)
    guide.append(AutoDelta(block(model, expose=["y"])))
    guide.custom = GuideX(model)
    guide.rest = AutoNormal(block(model, expose=["z"]))
    assert set(guide()) == {"x", "y", "z"} and len(guide) == 3
    names = set(ember.get_param_store())
    assert {"AutoGuideList.0.y", "AutoGuideList.custom.x_loc", "AutoGuideList.rest.locs.z"} <= names
    assert set(guide.median()) == {"x", "y", "z"}
    assert all(part.master() is guide for part in guide)


def test_functions_as_parts():
    guide = AutoGuideList(model)
    guide.append(guide_x)
    guide.append(AutoNormal(block(model, hide=["x"])))
    assert isinstance(guide[0], AutoCallable)
    assert set(guide()) == {"y", "z"}, "a function that returns nothing adds no values"
    assert "x" in trace(guide).get_trace().nodes
    SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO()).step()


def test_a_function_with_its_median():
    guide = AutoGuideList(model)
    guide.append(AutoCallable(model, guide_x, lambda: {"x": ember.param("x_loc").detach()}))
    guide.append(AutoNormal(block(model, hide=["x"])))
    guide.prepare()
    assert guide.median()["x"] == 1.0


def test_lists_in_lists_share_plates():
    inner = AutoGuideList(block(model, hide=["x"]))
    inner.append(AutoDelta(block(model, expose=["y"])))
    inner.append(AutoDiagonalNormal(block(model, expose=["z"])))
    guide = AutoGuideList(model)
    guide.append(AutoNormal(block(model, expose=["x"])))
    guide.append(inner)
    assert set(guide()) == {"x", "y", "z"}
    recorded = trace(guide).get_trace()
    assert sum(type(site["fn"]).__name__ == "_Subsample" for _, site in recorded.iter_stochastic_nodes()) == 1
    assert inner[1].master() is guide
    assert inner.plates is guide.plates


def test_a_part_is_in_one_list():
    part = AutoNormal(model)
    guide = AutoGuideList(model)
    guide.append(part)
    with pytest.raises(RuntimeError, match="already added"):
        guide.append(part)


def test_add_is_the_old_name_of_append():
    guide = AutoGuideList(model)
    with pytest.warns(DeprecationWarning, match=r"\.append"):
        guide.add(AutoNormal(model))
    assert len(guide) == 1


def test_parts_may_not_overlap():
    guide = AutoGuideList(model)
    guide.append(AutoNormal(block(model, expose=["x", "y"])))
    guide.rest = AutoNormal(block(model, expose=["y", "z"]))
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(2):
        with pytest.raises(ValueError, match=r"parts '0' and 'rest'.*both have the site 'y'.*hide"):
            svi.step()
    assert not list(ember.get_param_store())


def test_parts_may_not_miss_a_site():
    guide = AutoGuideList(model)
    guide.append(AutoNormal(block(model, expose=["x"])))
    with pytest.raises(ValueError, match=r"no part .* has the sites \['y', 'z'\].*append"):
        guide()


def test_parts_of_another_model():
    guide = AutoGuideList(block(model, hide=["x"]))
    guide.append(AutoNormal(model))
    with pytest.raises(ValueError, match="'x', which its model does not have"):
        guide()


def test_discrete_sites_may_be_left_to_enumeration():
    def mixture():
        ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("k", dist.Categorical(torch.ones(2)))

    guide = AutoGuideList(mixture)
    guide.append(AutoNormal(block(mixture, expose=["x"])))
    assert set(guide()) == {"x"}
    guide = AutoGuideList(mixture)
    guide.append(AutoNormal(block(mixture, expose=["x"])))
    guide.append(AutoDiscreteParallel(block(mixture, expose=["k"])))
    assert set(guide()) == {"x", "k"}


def test_discrete_guides_refuse_continuous_sites():
    with pytest.raises(NotImplementedError, match='Expected sample site "x" to be discrete'):
        AutoDiscreteParallel(model)()

    def counts():
        ember.sample("n", dist.Binomial(3, 0.5))

    with pytest.raises(NotImplementedError, match="Binomial is not supported"):
        AutoDiscreteParallel(counts)()


def test_parts_do_not_keep_their_list_alive():
    part = AutoNormal(model)
    AutoGuideList(model).append(part)
    gc.collect()
    assert part.master is not None and part.master() is None
