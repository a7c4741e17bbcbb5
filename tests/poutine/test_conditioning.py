"""Handlers that settle values: condition, uncondition, do, replay, substitute, lift, equalize."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine

NORMAL = dist.Normal(0.0, 1.0)
ONE, TWO = torch.tensor(1.0), torch.tensor(2.0)


def chain():
    a = ember.sample("a", NORMAL)
    b = ember.sample("b", dist.Normal(a, 1.0))
    with ember.plate("p", 2):
        c = ember.sample("c", dist.Normal(b, 1.0))
    ember.sample("seen", dist.Normal(b, 1.0), obs=torch.tensor(0.5))
    return a, b, c


def nodes(fn, **config):
    return poutine.trace(fn, **config).get_trace().nodes


def summary(fn):
    return {n: s["is_observed"] for n, s in nodes(fn).items() if s["type"] == "sample" and n != "p"}


def test_condition():
    data = {"b": TWO}
    sites = nodes(poutine.condition(chain, data=data))
    assert sites["b"]["value"] is data["b"] and sites["b"]["is_observed"]
    assert not sites["a"]["is_observed"]
    assert summary(poutine.condition(chain, data={"b": None, "absent": ONE})) == summary(chain)
    assert nodes(poutine.condition(chain, data={"b": 0.9}))["b"]["value"] == 0.9


def test_condition_on_a_trace():
    trace = poutine.trace(chain).get_trace()
    sites = nodes(poutine.condition(chain, data=trace))
    assert all(sites[name]["value"] is trace.nodes[name]["value"] for name in ("a", "b", "c", "seen"))
    assert sites["a"]["is_observed"]


def test_conditioning_an_observed_site_moves_the_observation():
    assert nodes(poutine.condition(chain, data={"seen": TWO}))["seen"]["value"] is TWO
    site = nodes(poutine.condition(chain, data={"seen": None}))["seen"]
    assert not site["is_observed"] and site["value"] is not None


def test_uncondition():
    site = nodes(poutine.uncondition(chain))["seen"]
    assert not site["is_observed"] and site["value"] != 0.5
    assert site["infer"] == {"was_observed": True, "obs": torch.tensor(0.5)}
    again = nodes(poutine.condition(poutine.uncondition(chain), data={"seen": TWO}))["seen"]
    assert again["is_observed"] and again["value"] is TWO


def test_do_splits_the_site():
    sites = nodes(poutine.do(chain, data={"a": 7.0}))
    assert not sites["a"]["is_observed"] and sites["a"]["value"] != 7.0
    assert sites["b"]["fn"].loc == 7.0
    assert "a__CF" not in sites  # outer handlers do not see it
    with poutine.do(data={"a": 7.0}), poutine.trace() as recorder:
        chain()
    assert recorder.trace.nodes["a__CF"]["value"] == 7.0 and recorder.trace.nodes["a__CF"]["is_observed"]


def test_do_inside_plates_counts_scales_once():
    with ember.plate("rows", 6, 3), poutine.trace() as recorder:
        value = poutine.do(lambda: ember.sample("x", NORMAL), data={"x": torch.ones(3)})()
    site = recorder.trace.nodes["x"]
    assert site["scale"] == 2.0 and len(site["cond_indep_stack"]) == 1 and site["value"].shape == (3,)
    assert torch.equal(value, torch.ones(3))


@pytest.mark.parametrize("condition_first", [True, False])
def test_do_composes_with_condition(condition_first):
    data, intervention = {"a": ONE, "b": TWO}, {"a": 7.0}
    if condition_first:
        program = poutine.do(poutine.condition(chain, data=data), data=intervention)
    else:
        program = poutine.condition(poutine.do(chain, data=intervention), data=data)
    sites = nodes(program)
    assert sites["a"]["value"] is ONE and sites["a"]["is_observed"]
    assert sites["b"]["fn"].loc == 7.0 and sites["b"]["value"] is TWO


def test_do_nothing():
    assert summary(poutine.do(chain, data={"a": None, "absent": 1.0})) == summary(chain)


def test_do_twice_on_one_site_warns():
    with pytest.warns(RuntimeWarning, match="intervene on variable a multiple times"):
        poutine.do(poutine.do(chain, data={"a": 1.0}), data={"a": 2.0})()
    poutine.do(poutine.do(chain, data={"a": 1.0}), data={"b": 2.0})()


def test_do_takes_tensors_and_numbers():
    with pytest.raises(NotImplementedError, match=r"Interventions of type <class 'str'>.* at site 'a'"):
        poutine.do(chain, data={"a": "seven"})()


def test_replay_takes_values_and_copies_settings():
    guide = poutine.trace(chain).get_trace()
    guide.nodes["a"]["infer"]["note"] = 1
    model = poutine.trace(poutine.replay(chain, trace=guide)).get_trace()
    for name in ("a", "b", "c"):
        assert model.nodes[name]["value"] is guide.nodes[name]["value"]
    assert model.nodes["a"]["infer"] == {"note": 1}
    model.nodes["a"]["infer"]["more"] = 2
    assert guide.nodes["a"]["infer"] == {"note": 1}
    torch.testing.assert_close(model.log_prob_sum(), guide.log_prob_sum())


def test_replay_leaves_observed_and_new_sites_alone():
    guide = poutine.trace(lambda: ember.sample("seen", NORMAL)).get_trace()
    sites = nodes(poutine.replay(chain, trace=guide))
    assert sites["seen"]["value"] == 0.5
    with pytest.raises(RuntimeError, match="site seen must be sampled in trace"):
        poutine.replay(lambda: ember.sample("seen", NORMAL), trace=poutine.trace(chain).get_trace())()
    with pytest.raises(RuntimeError, match="site _INPUT must be sampled in trace"):
        poutine.replay(lambda: ember.sample("_INPUT", NORMAL), trace=poutine.trace(chain).get_trace())()


def test_replay_parameters():
    value = torch.tensor(9.0)
    with pytest.raises(AssertionError, match="must be constrained value"):
        poutine.replay(lambda: ember.param("p"), params={"p": value})()
    value.unconstrained = lambda: value
    assert poutine.replay(lambda: ember.param("p"), params={"p": value})() is value
    with pytest.raises(ValueError, match="must provide trace or params to replay against"):
        poutine.replay(chain)


def params():
    return ember.param("a", torch.tensor(1.0)), ember.param("m$$$b", torch.ones(2)), ember.param("a")


def test_substitute():
    assert poutine.substitute(params, data={"a": TWO})()[0] is TWO
    assert poutine.substitute(params, data={"b": TWO})()[1] is TWO
    assert "a" not in poutine.get_plates() and "a" in ember.get_param_store()
    assert poutine.substitute(lambda: ember.param("never"), data={"never": ONE})() is ONE
    with pytest.warns(
        UserWarning, match=r"data did not find params \['zz'\]. Did you instead mean one of \['b'\]"
    ):
        poutine.substitute(params, data={"a": TWO, "zz": ONE})()
    with ember.validation_enabled(False):
        poutine.substitute(params, data={"zz": ONE})()


def test_a_warning_turned_into_an_error_leaves_the_stack_clean():
    for handler in (poutine.substitute(data={"zz": ONE}), poutine.lift(prior={"zz": NORMAL})):
        with pytest.raises(UserWarning, match="did not find params"), handler:
            params()
        assert len(poutine.runtime._PYRO_STACK) == 0


def test_lift_everything():
    sites = nodes(poutine.lift(params, prior=NORMAL))
    assert sites["a"]["type"] == sites["m$$$b"]["type"] == "sample"
    assert not sites["a"]["is_observed"] and sites["a"]["fn"] is NORMAL
    first, _, again = poutine.lift(params, prior=NORMAL)()
    assert first is again
    assert len(ember.get_param_store()) == 0


def test_lift_by_name():
    sites = nodes(poutine.lift(params, prior={"b": NORMAL}))
    assert (sites["a"]["type"], sites["m$$$b"]["type"]) == ("param", "sample")
    with pytest.warns(UserWarning, match=r"prior did not find params \['zz'\]"):
        poutine.lift(params, prior={"a": NORMAL, "zz": NORMAL})()


def test_lift_by_function():
    a, b, _ = poutine.lift(
        lambda: (*params()[:1], params()[1], 0), prior=lambda init, *args, **kwargs: init + 1
    )()
    assert a == 2.0 and b.tolist() == [2.0, 2.0]

    def prior(init, *args, **kwargs):
        return ember.sample("inner", dist.Normal(init, 1.0))

    sites = nodes(poutine.lift(lambda: ember.param("a", ONE), prior=prior))
    assert "inner" in sites and "a" not in sites


def test_lifted_parameters_obey_other_handlers():
    sites = nodes(poutine.condition(poutine.lift(params, prior=NORMAL), data={"a": TWO}))
    assert sites["a"]["value"] is TWO and sites["a"]["is_observed"]
    with ember.plate("p", 3):
        assert poutine.lift(lambda: ember.param("q", ONE), prior=NORMAL)().shape == (3,)


def several():
    draws = [ember.sample(name, NORMAL) for name in ("x1", "x2", "y")]
    return *draws, ember.param("p1", torch.tensor(1.0)), ember.param("p2", torch.tensor(2.0))


@pytest.mark.parametrize("sites", [["x1", "x2"], "x.", ["x.*"]])
def test_equalize(sites):
    x1, x2, y, p1, p2 = poutine.equalize(several, sites)()
    assert x1 is x2 and y is not x1 and p1 != p2
    recorded = nodes(poutine.equalize(several, sites))
    assert recorded["x2"]["infer"] == {"_deterministic": True} and not recorded["x1"]["is_observed"]
    kept = nodes(poutine.equalize(several, sites, keep_dist=True))["x2"]
    assert kept["is_observed"] and kept["fn"] is NORMAL


def test_equalize_parameters_and_start_afresh():
    _, _, _, p1, p2 = poutine.equalize(several, "p.", "param")()
    assert p1 is p2
    handler = poutine.equalize(several, "x.")
    assert handler()[0] != handler()[0]
