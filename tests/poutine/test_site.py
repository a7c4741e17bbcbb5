"""One record, seen as attributes by Ember and as a plain dict by programs."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import ember
from ember import distributions as dist
from ember import poutine
from ember.poutine.runtime import apply_stack
from ember.poutine.site import Packed, Site, message
from ember.poutine.sites import Sites

KEYS = {
    *("type", "name", "fn", "is_observed", "args", "kwargs", "value", "infer", "scale", "mask"),
    *("cond_indep_stack", "done", "stop", "continuation"),
}
BY_HAND = {"type": "sample", "is_observed": False, "value": torch.tensor(2.0), "infer": {}}


def model():
    scale = ember.param("scale", torch.tensor(1.0))
    z = ember.sample("z", dist.Normal(0.0, scale))
    ember.deterministic("twice", 2 * z)
    return ember.sample("y", dist.Normal(z, 1.0), obs=torch.tensor(1.0))


def test_attributes_and_keys_are_the_same_entries():
    site = message("x", abs)
    site.value = 3
    assert site["value"] == 3
    site["value"] = 4
    assert site.value == 4
    site.enumeration = "parallel"
    assert site["infer"] == {"enumerate": "parallel"} and site.enumeration == "parallel"
    assert set(site) == KEYS and isinstance(site, dict)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, Site.copy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_copies_are_sites(again):
    site = message("x", abs, infer={"enumerate": "parallel"})
    new = again(site)
    assert type(new) is Site and new == site and new is not site and new.enumeration == "parallel"


def test_a_wrong_name_is_an_error_that_lists_the_right_ones():
    site = message("x", abs)
    with pytest.raises(KeyError, match="site 'x' has no key 'log_prob'; it has: type, name"):
        site["log_prob"]
    with pytest.raises(AttributeError, match="site 'x' has no key 'log_prob'"):
        _ = site.log_prob
    assert not hasattr(site, "log_prob") and getattr(site, "log_prob", None) is None
    with pytest.raises(AttributeError):
        site.valeu = 1
    with pytest.raises(KeyError, match="Packed has no key 'log_prob'"):
        Packed()["log_prob"]


def test_options_that_were_not_given_are_none():
    site = Site(BY_HAND)
    assert (site.enumeration, site.num_samples, site.enumerate_dim, site.prior) == (None,) * 4
    assert not (site.is_auxiliary or site.is_deterministic)
    assert site.is_latent and site.is_sample and not site.is_param


def test_traces_answer_questions():
    trace = poutine.trace(model).get_trace()
    assert [site.name for site in trace.samples()] == ["z", "twice", "y"]
    assert [site.name for site in trace.latents()] == trace.stochastic_nodes == ["z"]
    assert [site.name for site in trace.observed()] == trace.observation_nodes == ["twice", "y"]
    assert [site.name for site in trace.params()] == trace.param_nodes == ["scale"]
    assert trace.nodes["twice"].is_deterministic and not trace.nodes["y"].is_deterministic
    assert trace.nodes["z"].has_rsample


def test_nodes_made_by_hand_become_sites():
    trace = poutine.Trace()
    trace.nodes["z"] = dict(BY_HAND)
    trace.nodes.update({"a": dict(BY_HAND)}, b=dict(BY_HAND))
    assert trace.nodes.setdefault("c", dict(BY_HAND)).name == "c"
    trace.add_node("d", **BY_HAND)
    assert all(type(site) is Site and site.name == name for name, site in trace.nodes.items())
    replayed = poutine.trace(poutine.replay(model, trace=trace)).get_trace()
    assert replayed.nodes["z"]["value"] is BY_HAND["value"]


def test_sites_stay_themselves():
    site = message("x", abs)
    sites = Sites()
    sites["x"] = site
    assert sites["x"] is site and sites.copy()["x"] is site and type(sites.copy()) is Sites
    assert type(copy.copy(sites)) is Sites and type(pickle.loads(pickle.dumps(sites))["x"]) is Site


def test_a_message_may_be_a_plain_dict():
    msg = dict(message("z", lambda x: x + 1, args=(1.0,), type="shift"))

    class Shift(poutine.Messenger):
        def _pyro_shift(self, msg):
            msg["args"], msg["mine"] = (2.0,), "any key"

    with Shift():
        apply_stack(msg)
    assert type(msg) is dict and msg["value"] == 3.0 and msg["mine"] == "any key" and msg["done"]


def test_handlers_that_users_write_see_a_dict():
    class Halve(poutine.Messenger):
        def _pyro_sample(self, msg):
            if msg["name"] == "z":
                msg["value"], msg["done"], msg["stop"] = torch.tensor(0.5), True, True
                msg["note"] = "kept"

    with Halve():
        trace = poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"] == 0.5 and {**trace.nodes["z"]}["note"] == "kept"
