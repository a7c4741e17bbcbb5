"""The statements of the model language, with and without handlers."""

from __future__ import annotations

import inspect

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints

NORMAL = dist.Normal(0.0, 1.0)
ONE = torch.tensor(1.0)


def nodes(fn, *args):
    return poutine.trace(fn).get_trace(*args).nodes


def test_without_handlers_statements_return_plain_tensors():
    for value in (
        ember.sample("x", NORMAL),
        ember.param("p", torch.tensor(1.0)),
        ember.deterministic("d", ONE),
        ember.subsample(ONE, event_dim=0),
    ):
        assert type(value) is torch.Tensor
    assert ember.barrier([1]) == [1]


def test_observing_outside_of_inference_warns_at_the_callers_line():
    with pytest.warns(RuntimeWarning, match="trying to observe a value outside of inference at x") as caught:
        assert ember.sample("x", NORMAL, obs=ONE) is ONE
    with pytest.warns(RuntimeWarning, match="outside of inference at f"):
        assert ember.factor("f", ONE) is None
    assert caught[0].filename == __file__
    assert ember.deterministic("d", ONE) is ONE


def test_sample_takes_any_callable():
    def draw(a, b=1):
        return torch.tensor(float(a + b))

    assert ember.sample("x", draw, 3, b=4) == 7.0
    site = nodes(lambda: ember.sample("x", draw, 3, b=4))["x"]
    assert (site["args"], site["kwargs"], site["value"]) == ((3,), {"b": 4}, torch.tensor(7.0))


def test_infer_is_observed_overrides():
    site = nodes(lambda: ember.sample("x", NORMAL, obs=ONE, infer={"is_observed": False}))["x"]
    assert site["is_observed"] is False and site["value"] is ONE and site["infer"] == {}
    with pytest.raises(AssertionError, match="sample site 'x' has no value"):
        nodes(lambda: ember.sample("x", NORMAL, infer={"is_observed": True}))


def masked(mask, event=False, obs=True):
    shape = (3, 2) if event else (3,)
    fn = dist.Normal(torch.zeros(shape), 1.0).to_event(1) if event else NORMAL
    with ember.plate("rows", 3):
        return ember.sample("x", fn, obs=torch.ones(shape) if obs else None, obs_mask=mask)


@pytest.mark.parametrize("event", [False, True])
@pytest.mark.parametrize(
    "mask", [torch.tensor([True, False, True]), torch.tensor(True), torch.tensor([False]), True], ids=str
)
def test_partly_observed_sites(mask, event):
    trace = poutine.trace(masked).get_trace(mask, event)
    assert list(trace)[2:-1] == ["x_observed", "x_unobserved", "x"]
    sites = trace.nodes
    full = torch.as_tensor(mask).expand(3)
    assert torch.equal(torch.as_tensor(sites["x_observed"]["mask"]).expand(3), full)
    assert torch.equal(torch.as_tensor(sites["x_unobserved"]["mask"]).expand(3), ~full)
    assert (sites["x_observed"]["is_observed"], sites["x_unobserved"]["is_observed"]) == (True, False)
    value = sites["x"]["value"]
    assert torch.equal(value[full], torch.ones_like(value)[full])
    assert torch.equal(value[~full], sites["x_unobserved"]["value"][~full])
    assert sites["x"]["infer"] == {"_deterministic": True}
    assert sites["x"]["fn"].batch_shape == (3,) and sites["x"]["fn"].event_dim == int(event)
    density = sites["x_observed"]["fn"].log_prob(sites["x_observed"]["value"])[full].sum()
    density = density + sites["x_unobserved"]["fn"].log_prob(sites["x_unobserved"]["value"])[~full].sum()
    torch.testing.assert_close(trace.log_prob_sum(), density)


@pytest.mark.parametrize("event", [False, True])
@pytest.mark.parametrize("shape", [(3, 2), (2,), (4,)])
def test_masks_must_broadcast_to_the_batch(shape, event):
    with pytest.raises(
        ValueError, match=r"Invalid obs_mask shape \(.*should be broadcastable to batch_shape = \(3,\)"
    ):
        masked(torch.ones(shape, dtype=torch.bool), event)


def test_masks_without_observations_and_with_numbers():
    sites = nodes(masked, torch.tensor([True, False, True]), False, False)
    assert not sites["x_observed"]["is_observed"]
    value = ember.sample("y", NORMAL, obs=3.0, obs_mask=torch.tensor(True))
    assert value == 3.0
    with pytest.raises(ValueError, match="BoolTensor"):
        ember.sample("y", NORMAL, obs=ONE, obs_mask=torch.tensor(1.0))


def test_factor():
    def model():
        with ember.plate("p", 3):
            ember.factor("f", torch.tensor(0.5))

    trace = poutine.trace(model).get_trace()
    assert trace.log_prob_sum() == 1.5
    site = trace.nodes["f"]
    assert site["is_observed"] and site["infer"] == {"is_auxiliary": True}
    assert site["fn"].batch_shape == (3,) and site["fn"].event_shape == (0,) and site["value"].numel() == 0


@pytest.mark.parametrize("has_rsample", [None, True, False])
def test_factor_remembers_whether_has_rsample_was_given(has_rsample):
    fn = nodes(lambda: ember.factor("f", ONE, has_rsample=has_rsample))["f"]["fn"]
    assert fn.__dict__.get("has_rsample") is has_rsample


def test_deterministic():
    def model():
        with ember.plate("p", 3):
            ember.deterministic("inside", torch.ones(3))
            ember.deterministic("batched", torch.ones(3), event_dim=0)
        ember.deterministic("outside", torch.ones(3))
        ember.deterministic("rows", torch.ones(5, 3), event_dim=1)

    trace = poutine.trace(model).get_trace()
    shapes = {
        n: (tuple(s["fn"].batch_shape), tuple(s["fn"].event_shape))
        for n, s in trace.nodes.items()
        if s.get("is_observed")
    }
    assert shapes["inside"] == ((3,), (3,)) and shapes["batched"] == ((3,), ())
    assert shapes["outside"] == ((), (3,)) and shapes["rows"] == ((5,), (3,))
    assert trace.observation_nodes == ["inside", "batched", "outside", "rows"]
    assert trace.log_prob_sum() == 0.0
    assert trace.nodes["outside"]["infer"] == {"_deterministic": True}


def test_expensive_factors_can_be_skipped():
    counted = []

    def model():
        if poutine.get_mask() is not False:
            counted.append(1)

    model()
    poutine.mask(model, mask=False)()
    poutine.mask(model, mask=torch.tensor([True]))()
    assert len(counted) == 2


def test_signatures():
    def parameters(fn):
        return [(p.name, p.default) for p in inspect.signature(fn).parameters.values()]

    empty = inspect.Parameter.empty
    assert parameters(ember.param) == [
        *(("name", empty), ("init_tensor", None), ("constraint", constraints.real), ("event_dim", None))
    ]
    assert [name for name, _ in parameters(ember.sample)] == [
        *("name", "fn", "args", "obs", "obs_mask", "infer", "kwargs")
    ]
    assert parameters(ember.plate) == [("name", empty)] + [
        (name, None) for name in ("size", "subsample_size", "subsample", "dim", "use_cuda", "device")
    ]
    assert parameters(ember.plate_stack) == [("prefix", empty), ("sizes", empty), ("rightmost_dim", -1)]
    assert parameters(ember.factor) == [("name", empty), ("log_factor", empty), ("has_rsample", None)]
    assert parameters(ember.deterministic) == [("name", empty), ("value", empty), ("event_dim", None)]
    assert parameters(ember.subsample)[:2] == [("data", empty), ("event_dim", empty)]
    assert parameters(ember.module) == [
        ("name", empty),
        ("nn_module", empty),
        ("update_module_params", False),
    ]
    assert parameters(poutine.block)[1:] == [
        *(("hide_fn", None), ("expose_fn", None), ("hide_all", True), ("expose_all", False)),
        *(("hide", None), ("expose", None), ("hide_types", None), ("expose_types", None)),
    ]
    assert parameters(poutine.trace) == [("fn", None), ("graph_type", None), ("param_only", None)]
    assert parameters(poutine.equalize) == [
        ("fn", empty),
        ("sites", empty),
        ("type", "sample"),
        ("keep_dist", False),
    ]
    assert parameters(poutine.replay) == [("fn", None), ("trace", None), ("params", None)]


def test_validation_is_switched_and_put_back_part_by_part():
    parts = (dist, ember.infer, poutine)
    assert all(part.is_validation_enabled() for part in parts)
    with ember.validation_enabled(False):
        assert not any(part.is_validation_enabled() for part in parts)
        dist.Normal(0.0, -1.0)
    with pytest.raises(ValueError):
        dist.Normal(0.0, -1.0)
    poutine.enable_validation(False)
    try:
        with pytest.raises(KeyError), ember.validation_enabled(True):
            assert poutine.is_validation_enabled()
            raise KeyError
        assert [part.is_validation_enabled() for part in parts] == [True, True, False]
    finally:
        ember.enable_validation()
    assert all(part.is_validation_enabled() for part in parts)
