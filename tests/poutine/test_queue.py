"""Leaving a program in the middle: escape, queue, nonlocal exits."""

from __future__ import annotations

from queue import LifoQueue, Queue

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.poutine.runtime import _DIM_ALLOCATOR, _PYRO_STACK
from ember.poutine.values.queue_messenger import all_escape, discrete_escape, enum_extend, mc_extend

NORMAL = dist.Normal(0.0, 1.0)


def model(seen=None):
    x = ember.sample("x", dist.Bernoulli(0.25))
    z = ember.sample("z", dist.Normal(x, 1.0))
    y = ember.sample("y", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
    if seen is not None:
        seen.append((x.item(), z.item(), y.item()))
    return x, y


def started(kind=Queue):
    queue = kind()
    queue.put(poutine.Trace())
    return queue


@pytest.mark.parametrize("kind", [Queue, LifoQueue])
def test_queue_enumerates_all_paths(kind):
    queue = started(kind)
    enumerated = poutine.trace(poutine.queue(model, queue=queue))
    paths = {}
    while not queue.empty():
        trace = enumerated.get_trace()
        nodes = trace.nodes
        paths[nodes["x"]["value"].item(), nodes["y"]["value"].item()] = sum(
            nodes[name]["fn"].log_prob(nodes[name]["value"]) for name in ("x", "y")
        )
    assert len(paths) == 6
    torch.testing.assert_close(torch.stack(list(paths.values())).exp().sum(), torch.tensor(1.0))


def test_earlier_values_are_kept_and_later_ones_drawn_anew():
    seen = []
    queue = started()
    run = poutine.queue(queue=queue)(lambda: model(seen))
    for _ in range(6):
        run()
    by_x = [z for x, z, _ in seen if x == 1.0]
    assert len(seen) == 6 and len(set(by_x)) == 1  # z was drawn before y branched


def test_too_many_tries():
    with pytest.raises(ValueError, match="max tries"):
        poutine.queue(model, queue=started(), max_tries=1)()
    assert _PYRO_STACK == [] and _DIM_ALLOCATOR._stack == []


def test_an_empty_queue_does_not_wait_forever():
    with pytest.raises(AssertionError, match="will deadlock"):
        poutine.queue(model, queue=Queue())()


def test_ways_to_extend():
    site = poutine.trace(model).get_trace().nodes["y"]
    empty = poutine.Trace()
    assert [t.nodes["y"]["value"].item() for t in enum_extend(empty, site)] == [0, 1, 2]
    assert len(enum_extend(empty, site, num_samples=0)) == 1
    assert len(mc_extend(empty, site)) == 1 and len(mc_extend(empty, site, num_samples=4)) == 4
    assert len(empty) == 0
    queue = started(LifoQueue)
    run = poutine.queue(model, queue=queue, extend_fn=mc_extend, escape_fn=all_escape, num_samples=2)
    run()
    assert queue.qsize() == 3  # one sibling at each of the three sites


def test_where_to_escape():
    nodes = poutine.trace(model).get_trace().nodes
    empty = poutine.Trace()
    assert [name for name in "xzy" if all_escape(empty, nodes[name])] == ["x", "z", "y"]
    assert [name for name in "xzy" if discrete_escape(empty, nodes[name])] == ["x", "y"]
    full = poutine.trace(model).get_trace()
    assert not any(all_escape(full, nodes[name]) for name in "xzy")


def test_escape_carries_the_site():
    with pytest.raises(poutine.NonlocalExit) as caught:
        poutine.escape(model, escape_fn=lambda msg: msg["name"] == "z")()
    assert caught.value.site["name"] == "z" and caught.value.site["done"] and caught.value.site["stop"]
    assert _PYRO_STACK == []


@pytest.mark.parametrize(("hidden", "outer_kept"), [(["x"], True), (["other"], False)])
def test_reset_stops_at_the_first_block_that_hides_the_site(hidden, outer_kept):
    with poutine.trace() as outer:
        ember.sample("o", NORMAL)
        with poutine.block(hide=hidden), poutine.trace() as inner:
            ember.sample("x", NORMAL)
            poutine.NonlocalExit(inner.trace.nodes["x"]).reset_stack()
            assert len(inner.trace) == 0 and ("o" in outer.trace) is outer_kept


def test_reset_forgets_plates():
    plate = ember.plate("p", 3)
    with plate:
        poutine.NonlocalExit(poutine.Site(name="x", type="sample")).reset_stack()
        assert plate.counter == 0 and _DIM_ALLOCATOR._stack == []


def test_reset_keeps_a_traces_arguments():
    traced = poutine.trace(lambda x: ember.sample("z", NORMAL))
    traced(3)
    traced.msngr._reset()
    assert list(traced.trace) == ["_INPUT"]
