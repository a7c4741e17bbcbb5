"""The dims and ids of enumerated sites, markov, and packed log densities."""

from __future__ import annotations

import threading

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import config_enumerate
from ember.poutine.enumeration.enum_messenger import enumerate_site
from ember.poutine.enumeration.reentrant_messenger import ReentrantMessenger
from ember.poutine.runtime import _ENUM_ALLOCATOR
from ember.poutine.site import message

PARALLEL = {"enumerate": "parallel"}


def coin(name, p=0.5, **infer):
    return ember.sample(name, dist.Bernoulli(p), infer={**PARALLEL, **infer})


def enumerated(program, first_available_dim=-1):
    return poutine.trace(poutine.enum(program, first_available_dim=first_available_dim)).get_trace()


def test_values_lie_left_of_what_came_before():
    def program():
        x = coin("x")
        with ember.plate("rows", 3):
            k = ember.sample("k", dist.Categorical(torch.ones(2, 4)[x.long()]), infer=PARALLEL)
            h = ember.sample("h", dist.OneHotCategorical(torch.ones(5)), infer=PARALLEL)
        return x, k, h

    x, k, h = enumerated(program, -2).nodes["_RETURN"]["value"]
    assert (x.shape, k.shape, h.shape) == ((2, 1), (4, 1, 1), (5, 1, 1, 1, 5))
    assert torch.equal(h.squeeze(), torch.eye(5))


def test_expanded_values_have_the_shape_of_the_batch():
    def program():
        with ember.plate("rows", 3):
            return coin("x", expand=True)

    assert enumerated(program, -2).nodes["x"]["value"].shape == (2, 3)


def test_only_marked_latent_sites_are_enumerated():
    def program():
        ember.sample("drawn", dist.Bernoulli(0.5))
        ember.sample("seen", dist.Bernoulli(0.5), obs=torch.ones(()), infer=PARALLEL)
        ember.sample("sequential", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})

    assert all(
        site["value"].shape == ()
        for name, site in enumerated(program).nodes.items()
        if site["type"] == "sample"
    )


def test_log_densities_of_an_own_support_are_taken_from_the_table():
    table = torch.tensor([[0.2, 0.8], [0.6, 0.4]])

    def program():
        with ember.plate("rows", 2):
            ember.sample("k", dist.Categorical(table), infer=PARALLEL)

    trace = enumerated(program, -2)
    trace.compute_log_prob()
    assert torch.allclose(trace.nodes["k"]["log_prob"].exp(), table.T)


def test_a_finite_nesting_is_needed():
    with pytest.raises(
        ValueError, match="max_plate_nesting must be set to a finite value for parallel enumeration"
    ):
        enumerated(lambda: coin("x"), -float("inf"))


def test_a_model_goes_on_where_its_guide_stopped():
    guide = enumerated(lambda: coin("x"))

    def model():
        coin("x")
        return coin("y")

    trace = poutine.trace(poutine.enum(poutine.replay(model, trace=guide))).get_trace()
    assert trace.nodes["x"]["value"] is guide.nodes["x"]["value"]
    assert trace.nodes["y"]["value"].shape == (2, 1)
    assert trace.nodes["y"]["infer"]["_enumerate_dim"] == -2


def test_replayed_sites_leave_the_guides_record_as_it_is():
    guide = enumerated(lambda: coin("x"))
    before = {key: dict(v) if isinstance(v, dict) else v for key, v in guide.nodes["x"]["infer"].items()}

    def model():
        coin("w")
        coin("x")

    model_trace = poutine.trace(poutine.replay(poutine.enum(model), trace=guide)).get_trace()
    assert guide.nodes["x"]["infer"] == before
    assert model_trace.nodes["x"]["infer"]["_dim_to_id"][-1] == before["_dim_to_id"][-1]


def test_enumeration_inside_an_enumeration_is_undone():
    def program():
        coin("x")
        with poutine.block():
            enumerated(lambda: coin("inner"))
        return coin("y")

    assert enumerated(program).nodes["y"]["infer"]["_enumerate_dim"] == -2


def test_threads_enumerate_on_their_own():
    _ENUM_ALLOCATOR.set_first_available_dim(-1)
    _ENUM_ALLOCATOR.allocate()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(enumerated(lambda: coin("x")).nodes["x"]["infer"]))
    thread.start()
    thread.join()
    assert (seen[0]["_enumerate_dim"], seen[0]["_dim_to_id"]) == (-1, {-1: 0})
    assert _ENUM_ALLOCATOR.allocate() == (-2, 1)


@pytest.mark.parametrize(("history", "dims"), [(0, 1), (1, 2), (2, 3), (3, 4)])
def test_markov_uses_as_many_dims_as_the_history_needs(history, dims):
    def program():
        past = []
        for t in ember.markov(range(10), history=history):
            p = 0.1 + 0.2 * sum(past[len(past) - history :]) if history else 0.5
            past.append(coin(f"x{t}", p))

    trace = enumerated(program)
    used = [trace.nodes[f"x{t}"]["infer"]["_enumerate_dim"] for t in range(10)]
    assert used == [-1 - t % dims for t in range(10)]
    trace.compute_log_prob()
    trace.pack_tensors()
    symbols = {trace.nodes[f"x{t}"]["infer"]["_enumerate_symbol"] for t in range(10)}
    assert len(symbols) == 10


def test_markov_as_iterator_context_and_decorator():
    def by_iterator():
        x = 0.0
        for t in ember.markov(range(6)):
            x = coin(f"x{t}", 0.1 + 0.8 * x)

    def by_context():
        x, step = 0.0, poutine.markov()
        for t in range(6):
            with step:
                x = coin(f"x{t}", 0.1 + 0.8 * x)

    def by_recursion():
        @ember.markov
        def step(t, x):
            if t < 6:
                step(t + 1, coin(f"x{t}", 0.1 + 0.8 * x))

        step(0, 0.0)

    def dims(program):
        trace = enumerated(program)
        return [trace.nodes[f"x{t}"]["infer"]["_enumerate_dim"] for t in range(6)]

    assert dims(by_iterator) == dims(by_recursion) == [-1, -2] * 3
    # Steps that are left, and not entered inside of each other, are past at once.
    assert dims(by_context) == [-1] * 6


@pytest.mark.parametrize("keep", [False, True])
def test_branches_see_each_other_if_they_are_kept(keep):
    def program():
        with poutine.markov(keep=keep) as step:
            coin("root")
            for side in ("left", "right"):
                with step:
                    coin(side)

    trace = enumerated(program)
    dims = [trace.nodes[name]["infer"]["_enumerate_dim"] for name in ("root", "left", "right")]
    assert dims == [-1, -2, -3 if keep else -2]


def test_global_sites_stay_in_sight():
    def program():
        coin("before")
        for t in ember.markov(range(4)):
            coin(f"x{t}")
        coin("after")

    trace = enumerated(program)
    dims = [
        trace.nodes[name]["infer"]["_enumerate_dim"] for name in ("before", "x0", "x1", "x2", "x3", "after")
    ]
    assert dims == [-1, -2, -3, -2, -3, -2]


def test_an_interrupted_loop_leaves_nothing_behind():
    step = poutine.markov(range(5))
    for t in step:
        if t == 2:
            break
    del t
    import gc

    gc.collect()
    assert (step._pos, step._stack, step._ref_count) == (-1, [], 0)


def test_markov_refuses():
    for options in ({"dim": -1}, {"name": "steps"}):
        with pytest.raises(NotImplementedError, match=f"try setting {next(iter(options))} to None"):
            ember.markov(range(3), **options)
    with pytest.raises(ValueError, match="3 is not callable"):
        ember.markov(3)
    with pytest.raises(AssertionError, match="history"):
        ember.markov(range(3), history=-1)


def test_reentrant_handlers_take_one_place():
    handler = ReentrantMessenger()
    with handler, handler:
        assert list(poutine.runtime._PYRO_STACK) == [handler]
    assert list(poutine.runtime._PYRO_STACK) == []


def test_packed_tensors_have_no_dims_of_size_one():
    @config_enumerate
    def program():
        x = ember.sample("x", dist.Bernoulli(0.5))
        with ember.plate("rows", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            ember.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(3))
        with ember.plate("one", 1):
            ember.sample("z", dist.Normal(x, 1.0))

    trace = enumerated(program, -2)
    trace.compute_score_parts()
    known = {"rows": "q"}
    trace.pack_tensors(known)
    packed = trace.nodes["y"]["packed"]
    assert packed["log_prob"].shape == (2, 3)
    x = trace.nodes["x"]["infer"]["_enumerate_symbol"]
    assert packed["log_prob"]._pyro_dims == x + "q"
    assert packed["mask"]._pyro_dims == "q"
    assert packed["score_parts"].log_prob is packed["log_prob"]
    assert trace.nodes["z"]["packed"]["log_prob"]._pyro_dims == x
    assert set(trace.plate_to_symbol) == {"rows", "one"} and trace.plate_to_symbol is known
    assert trace.symbol_to_dim[x] == -2 and trace.symbol_to_dim["q"] == -1


def test_packing_names_the_site_that_does_not_fit():
    def program():
        ember.sample("y", dist.Normal(torch.zeros(4), 1.0))

    trace = poutine.trace(program).get_trace()
    trace.compute_log_prob()
    with pytest.raises(
        ValueError, match=r"(?s)Error while packing tensors at site 'y'.*Actual shape: \(4,\).*y dist"
    ):
        trace.pack_tensors()


@pytest.mark.parametrize(("tmc", "own"), [("diagonal", True), ("mixture", False)])
def test_samples_choose_one_sample_of_each_ancestor(tmc, own):
    """Samples of a point mass show where they come from."""

    @config_enumerate(num_samples=50, tmc=tmc)
    def program():
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 2):
            y = ember.sample("y", dist.Normal(x, 1e-6))
        return x, y

    x, y = enumerated(program, -2).nodes["_RETURN"]["value"]
    assert (x.shape, y.shape) == ((50, 1), (50, 1, 2))
    source = (y.squeeze(1)[:, 0, None] - x.squeeze(1)).abs().argmin(-1)
    assert torch.equal(source, torch.arange(50)) == own


def test_numbers_of_samples():
    def site(**infer):
        return message("x", dist.Normal(torch.zeros(3), 1.0), infer=infer)

    assert enumerate_site(site(num_samples=1)).shape == (1, 3)
    assert enumerate_site(site(num_samples=4, expand=True)).shape == (4, 3)
    assert enumerate_site(site(num_samples=3)).shape == (3, 1)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0 at site 'x'"):
        enumerate_site(site(num_samples=0))
