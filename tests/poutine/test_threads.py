"""One thread's handlers, plate dims and stores are its own."""

from __future__ import annotations

import threading

import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.params import ParamStoreDict
from ember.poutine.runtime import _DIM_ALLOCATOR, _PYRO_STACK

NORMAL = dist.Normal(0.0, 1.0)


def side_by_side(*programs):
    """Run programs in threads, in lockstep at each ``meet()``; return what they return."""
    barrier = threading.Barrier(len(programs), timeout=30)
    results = [None] * len(programs)

    def target(index, program):
        try:
            results[index] = program(barrier.wait)
        except BaseException as error:
            results[index] = error
            barrier.abort()

    threads = [threading.Thread(target=target, args=item) for item in enumerate(programs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_handlers_and_plates():
    def program(name, size):
        def run(meet):
            with poutine.trace() as recorder, ember.plate(name, size), poutine.scale(scale=float(size)):
                meet()
                ember.sample(name + " x", NORMAL)
                assert _DIM_ALLOCATOR._stack == [name] and len(_PYRO_STACK) == 3
                assert [frame.name for frame in poutine.get_plates()] == [name]
                meet()
            meet()
            assert _PYRO_STACK == [] and _DIM_ALLOCATOR._stack == []
            return {n: (tuple(s["value"].shape), s["scale"]) for n, s in recorder.trace.nodes.items()}

        return run

    one, two = side_by_side(program("a", 2), program("b", 3))
    assert one == {"a": ((2,), 1.0), "a x": ((2,), 2.0)}
    assert two == {"b": ((3,), 1.0), "b x": ((3,), 3.0)}


def test_the_callers_handlers_are_not_the_threads():
    with poutine.trace() as recorder, poutine.mask(mask=False):
        (mask,) = side_by_side(lambda meet: (ember.sample("x", NORMAL), poutine.get_mask())[1])
    assert mask is None and len(recorder.trace) == 0


def test_an_error_in_one_thread_leaves_the_others_stack():
    def fails(meet):
        try:
            with ember.plate("a", 2):
                meet()
                raise KeyError
        except KeyError:
            meet()

    def works(meet):
        with ember.plate("b", 3):
            meet()
            meet()
            return tuple(ember.sample("x", NORMAL).shape)

    assert side_by_side(fails, works)[1] == (3,)


def test_scopes_of_the_store():
    store = ember.get_param_store()
    ember.param("shared", torch.tensor(0.0))

    def program(value):
        def run(meet):
            with store.scope() as state:
                meet()
                ember.param("p", torch.tensor(value))
                meet()
                assert list(store) == ["p"] and store["p"] == value
                meet()
            assert list(store) == ["shared"]
            return state["params"]["p"].item()

        return run

    assert side_by_side(program(1.0), program(2.0)) == [1.0, 2.0]
    assert list(store) == ["shared"]


def test_active_stores():
    def program(value):
        def run(meet):
            private = ParamStoreDict()
            with private.active():
                meet()
                ember.param("p", torch.tensor(value))
                meet()
                assert ember.get_param_store() is private
                ember.clear_param_store()
                ember.param("q", torch.tensor(value))
                meet()
            assert ember.get_param_store() is not private
            return dict(private.items())

        return run

    one, two = side_by_side(program(1.0), program(2.0))
    assert (one, two) == ({"q": torch.tensor(1.0)}, {"q": torch.tensor(2.0)})
    assert len(ember.get_param_store()) == 0


def test_the_default_store_is_shared():
    side_by_side(lambda meet: ember.param("made in a thread", torch.tensor(1.0)))
    assert "made in a thread" in ember.get_param_store()
