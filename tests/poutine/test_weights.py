"""Handlers that change how sites count or are set up: mask, scale, seed, infer_config, broadcast, block."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.poutine.frames import CondIndepStackFrame

NORMAL = dist.Normal(0.0, 1.0)


def site_under(*handlers):
    def draw():
        ember.sample("x", NORMAL)

    for handler in reversed(handlers):
        draw = handler(draw)
    return poutine.trace(draw).get_trace().nodes["x"]


def test_masks_combine():
    row, column = torch.tensor([True, False]), torch.tensor([[True], [False]])
    with poutine.mask(mask=row):
        assert poutine.get_mask() is row
        with poutine.mask(mask=column):
            assert torch.equal(poutine.get_mask(), row & column)
        with poutine.mask(mask=False):
            assert not poutine.get_mask().any()
        with poutine.block():
            assert poutine.get_mask() is None
    with poutine.mask(mask=False):
        assert poutine.get_mask() is False
        with poutine.mask(mask=True):
            assert poutine.get_mask() is False
    assert poutine.get_mask() is None


@pytest.mark.parametrize("bad", [torch.tensor(1.0), torch.tensor(1), None, "x", 0.5])
def test_masks_are_boolean(bad):
    with pytest.raises(ValueError, match="Expected mask to be a "):
        poutine.mask(mask=bad)


def test_masked_sites_do_not_count():
    def model():
        with ember.plate("p", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            ember.sample(
                "x", dist.Normal(0.0, 1.0, validate_args=False), obs=torch.tensor([1.0, float("nan"), 2.0])
            )

    total = poutine.trace(model).get_trace().log_prob_sum()
    torch.testing.assert_close(total, NORMAL.log_prob(torch.tensor([1.0, 2.0])).sum())


@pytest.mark.parametrize(
    "handler", [poutine.scale(scale=torch.ones(2)), poutine.mask(mask=torch.tensor([True, False]))]
)
@pytest.mark.parametrize("compute", ["log_prob_sum", "compute_log_prob", "compute_score_parts"])
def test_weights_of_a_wrong_shape_name_the_site(handler, compute):
    with ember.plate("p", 3), poutine.trace() as recorder, handler:
        ember.sample("x", NORMAL)
    with pytest.raises(RuntimeError) as caught:
        getattr(recorder.trace, compute)()
    assert "at site 'x': its scale and mask must broadcast" in caught.value.__notes__[0]


def test_scales_multiply():
    assert site_under(poutine.scale(scale=2), poutine.scale(scale=3))["scale"] == 6.0
    assert site_under(poutine.scale(scale=torch.tensor(0.5)), poutine.scale(scale=3.0))["scale"] == 1.5
    with ember.plate("p", 6, 3):
        weights = torch.tensor([1.0, 2.0, 3.0])
        trace = poutine.trace(lambda: ember.sample("x", NORMAL)).get_trace()
        scaled = poutine.trace(poutine.scale(lambda: ember.sample("x", NORMAL), scale=weights)).get_trace()
    assert trace.nodes["x"]["scale"] == 2.0
    assert torch.equal(scaled.nodes["x"]["scale"], 2.0 * weights)


@pytest.mark.parametrize("bad", [0, -1, 0.0, float("nan"), torch.tensor(0.0), torch.tensor([1.0, -1.0])])
def test_scales_are_positive(bad):
    with pytest.raises(ValueError, match="Expected scale > 0"):
        poutine.scale(scale=bad)


def test_scale_multiplies_gradients():
    loc = torch.tensor(0.3, requires_grad=True)

    def model():
        ember.sample("x", dist.Normal(loc, 1.0), obs=torch.tensor(2.0))

    (plain,) = torch.autograd.grad(poutine.trace(model).get_trace().log_prob_sum(), loc)
    scaled = poutine.trace(poutine.scale(model, scale=2.5)).get_trace().log_prob_sum()
    torch.testing.assert_close(torch.autograd.grad(scaled, loc)[0], 2.5 * plain)


def draws():
    return torch.rand(()).item(), random.random(), np.random.rand()


def test_seed_restores_all_generators():
    outside = draws()
    ember.set_rng_seed(0)
    with poutine.seed(rng_seed=3):
        inside = draws()
    assert draws() == outside
    assert poutine.seed(draws, rng_seed=3)() == poutine.seed(draws, 3)() == inside


def test_seed_restores_after_errors():
    ember.set_rng_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(KeyError), poutine.seed(rng_seed=3):
        draws()
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError), poutine.seed(rng_seed=-1):
        pass
    assert torch.equal(torch.get_rng_state(), before)
    assert len(poutine.runtime._PYRO_STACK) == 0


def test_seed_counts_as_a_handler():
    with poutine.seed(rng_seed=0):
        assert poutine.runtime.am_i_wrapped()


@pytest.mark.parametrize("bad", ["x", 3.0, torch.tensor(3)])
def test_seeds_are_ints(bad):
    with pytest.raises(AssertionError):
        poutine.seed(rng_seed=bad)


def test_infer_config():
    def program():
        ember.sample("x", NORMAL, infer={"kept": 1, "changed": 1})
        ember.param("p", torch.tensor(1.0))

    nodes = (
        poutine.trace(poutine.infer_config(program, config_fn=lambda s: {"changed": s["name"]}))
        .get_trace()
        .nodes
    )
    assert nodes["x"]["infer"] == {"kept": 1, "changed": "x"} and nodes["p"]["infer"] == {"changed": "p"}


def test_the_callers_infer_dict_is_copied():
    mine = {"a": 1}
    with poutine.infer_config(config_fn=lambda s: {"b": 2}):
        ember.sample("x", NORMAL, infer=mine)
    assert mine == {"a": 1}


def test_broadcast():
    class Bare(poutine.Messenger):
        """A frame without a plate's own expansion."""

        def _pyro_sample(self, msg):
            msg["cond_indep_stack"] = (CondIndepStackFrame("p", -2, 4, 0),)

    def draw():
        return ember.sample("x", dist.Normal(torch.zeros(3), 1.0)).shape

    with Bare():
        assert draw() == (3,)
    with poutine.broadcast(), Bare():
        assert draw() == (4, 3)


def program():
    ember.param("p", torch.tensor(1.0))
    ember.sample("a", NORMAL)
    ember.sample("b", NORMAL, obs=torch.tensor(1.0))
    ember.sample("c", NORMAL)


TYPES = {"p": "param", "a": "sample", "b": "observe", "c": "sample"}


def seen(**config):
    return {name for name in poutine.trace(poutine.block(program, **config)).get_trace() if name[0] != "_"}


def expected(hide_all=True, hide=None, expose=None, hide_types=None, expose_types=None):
    """The rule of SEMANTICS 40 as a table: a list to hide opens the default, a list to expose closes it again."""
    closed = hide_all
    for given, closes in ((hide, False), (expose, True), (hide_types, False), (expose_types, True)):
        closed = closes if given is not None else closed
    out = set()
    for name, kind in TYPES.items():
        named_hidden = name in (hide or ()) or kind in (hide_types or ())
        named_open = name in (expose or ()) or kind in (expose_types or ())
        if not named_hidden and (named_open or not closed):
            out.add(name)
    return out


CHOICES = {
    "hide_all": [True, False],
    "hide": [["a"], []],
    "expose": [["c"], ["p", "b"], []],
    "hide_types": [["observe"], ["sample"], []],
    "expose_types": [["param"], []],
}


def test_block_table():
    for count in range(len(CHOICES) + 1):
        for names in itertools.combinations(CHOICES, count):
            for chosen in itertools.product(*(CHOICES[name] for name in names)):
                config = dict(zip(names, chosen, strict=True))
                assert seen(**config) == expected(**config), config


def test_block_functions():
    assert seen(hide_fn=lambda msg: msg["name"] == "a") == {"p", "b", "c"}
    assert seen(hide_fn=lambda msg: 3) == set()
    assert seen(expose_fn=lambda msg: msg["name"] == "a", hide=["b"]) == {"a"}
    assert seen(expose=("a",)) == seen(expose={"a"}) == {"a"}
    with pytest.raises(ValueError, match="Only specify one of hide_fn or expose_fn"):
        poutine.block(hide_fn=bool, expose_fn=bool)


@pytest.mark.parametrize(
    "config",
    [
        {"hide_all": True, "expose_all": True},
        {"hide": ["a"], "expose": ["a"]},
        {"hide_types": ["param"], "expose_types": ["param"]},
    ],
)
def test_block_contradictions(config):
    with pytest.raises(AssertionError, match="cannot hide and expose"):
        poutine.block(**config)


def test_block_hides_from_everything_outside():
    with (
        poutine.trace() as recorder,
        poutine.scale(scale=2.0),
        ember.plate("p", 3),
        poutine.block(hide=["a"]),
    ):
        a, b = ember.sample("a", NORMAL), ember.sample("b", NORMAL)
    assert (a.shape, b.shape) == ((), (3,))
    assert "a" not in recorder.trace and recorder.trace.nodes["b"]["scale"] == 2.0


def test_chains_of_one_hidden_type():
    """``hide_types=["observe"]`` means observed sample sites, which ``"sample"`` leaves alone."""
    assert seen(hide_types=["observe"]) == {"p", "a", "c"}
    assert seen(hide_types=["sample"]) == {"p", "b"}
    assert seen(expose_types=["param", "observe"]) == {"p", "b"}
