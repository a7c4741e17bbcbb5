"""Laws: whatever the program, plates, scales, masks and traces obey them."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ember
import ember.distributions as dist
from ember import poutine
from ember.poutine.runtime import _DIM_ALLOCATOR

quick = settings(max_examples=60, deadline=None)
dims = st.lists(st.one_of(st.none(), st.integers(-5, -1)), min_size=1, max_size=5)


@quick
@given(dims)
def test_dims_are_distinct_and_freed(wanted):
    """Greedy model of the allocator: a wanted dim, else the rightmost free one; a clash raises and frees everything."""
    taken: list[int] = []
    clash = False
    for dim in wanted:
        chosen = dim if dim is not None else next(d for d in range(-1, -20, -1) if d not in taken)
        if chosen in taken:
            clash = True
            break
        taken.append(chosen)

    def enter(index):
        if index == len(wanted):
            return [frame.dim for frame in poutine.get_plates()], tuple(
                ember.sample("x", dist.Normal(0.0, 1.0)).shape
            )
        with ember.plate(f"p{index}", index + 2, dim=wanted[index]):
            return enter(index + 1)

    try:
        got, shape = enter(0)
    except ValueError as error:
        assert clash and "collide" in str(error)
    else:
        assert not clash and got == taken
        assert len(shape) == -min(taken)
        assert all(shape[dim] == index + 2 for index, dim in enumerate(taken))
        assert math.prod(shape) == math.prod(range(2, len(wanted) + 2))
    assert _DIM_ALLOCATOR._stack == []


@quick
@given(st.lists(st.one_of(st.floats(0.1, 10.0), st.integers(1, 9)), min_size=1, max_size=4))
def test_scales_multiply(factors):
    def draw():
        ember.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))

    program = draw
    for factor in factors:
        program = poutine.scale(program, scale=factor)
    plain = poutine.trace(draw).get_trace().log_prob_sum()
    scaled = poutine.trace(program).get_trace().log_prob_sum()
    torch.testing.assert_close(scaled, plain * math.prod(factors), rtol=1e-5, atol=1e-6)


masks = st.one_of(st.booleans(), st.lists(st.booleans(), min_size=3, max_size=3).map(torch.tensor))


@quick
@given(st.lists(masks, min_size=1, max_size=4))
def test_masks_are_combined_by_and(parts):
    def current():
        return poutine.get_mask()

    program = current
    for part in parts:
        program = poutine.mask(program, mask=part)
    both = torch.ones(3, dtype=torch.bool)
    for part in parts:
        both = both & part
    assert torch.equal(torch.as_tensor(program()).expand(3), both)


@st.composite
def programs(draw):
    """A random program: sites of several families, chained, in and out of plates, some observed."""
    spec = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["normal", "gamma", "bernoulli"]),
                st.booleans(),
                st.sampled_from([None, 2, 3]),
            ),
            min_size=1,
            max_size=6,
        )
    )

    def program():
        loc = torch.tensor(0.5)
        for i, (family, observed, size) in enumerate(spec):
            fn = {
                "normal": lambda loc: dist.Normal(loc, 1.0),
                "gamma": lambda loc: dist.Gamma(1.0 + loc.abs(), 2.0),
                "bernoulli": lambda loc: dist.Bernoulli(torch.sigmoid(loc)),
            }[family](loc)
            obs = torch.ones(() if size is None else (size,)) if observed else None
            if size is None:
                value = ember.sample(f"x{i}", fn, obs=obs)
            else:
                with ember.plate(f"plate{i}", size):
                    value = ember.sample(f"x{i}", fn, obs=obs)
            loc = value.mean()
        return loc

    return program


@quick
@given(programs(), st.integers(0, 1000))
def test_replay_reproduces_the_log_density(program, seed):
    ember.set_rng_seed(seed)
    first = poutine.trace(program).get_trace()
    again = poutine.trace(poutine.replay(program, trace=first)).get_trace()
    torch.testing.assert_close(again.log_prob_sum(), first.log_prob_sum(), rtol=0, atol=0)
    assert torch.equal(again.nodes["_RETURN"]["value"], first.nodes["_RETURN"]["value"])


@quick
@given(programs(), st.integers(0, 1000))
def test_the_same_seed_gives_the_same_run_under_any_order_of_handlers(program, seed):
    def run(fn):
        ember.set_rng_seed(seed)
        return poutine.trace(fn).get_trace()

    one = run(poutine.scale(poutine.mask(program, mask=True), scale=2.0))
    two = run(poutine.mask(poutine.scale(program, scale=2.0), mask=True))
    assert list(one) == list(two)
    assert torch.equal(torch.as_tensor(one.log_prob_sum()), torch.as_tensor(two.log_prob_sum()))


@quick
@given(programs(), st.data())
def test_copies_and_removals(program, data):
    trace = poutine.trace(program, graph_type="dense").get_trace()
    names, edges = list(trace), set(trace.edges)
    assert edges == {(b, a) for a in trace for b in trace.predecessors(a)}
    copy = trace.copy()
    gone = data.draw(st.sets(st.sampled_from(names)))
    for name in gone:
        copy.remove_node(name)
    assert list(copy) == [name for name in names if name not in gone]
    assert set(copy.edges) == {edge for edge in edges if not gone & set(edge)}
    assert (list(trace), set(trace.edges)) == (names, edges)
    order = copy.topological_sort()
    assert sorted(order) == sorted(copy)
    assert all(order.index(a) < order.index(b) for a, b in copy.edges)


@quick
@given(st.integers(2, 8), st.data())
def test_topological_sort_of_any_acyclic_graph(size, data):
    trace = poutine.Trace(graph_type="dense")
    labels = data.draw(st.permutations([f"n{i}" for i in range(size)]))
    for label in sorted(labels):
        trace.add_node(label, type="sample", name=label)
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    for a, b in data.draw(st.lists(st.sampled_from(pairs), unique=True)):
        trace.add_edge(a, b)
    order = trace.topological_sort()
    assert sorted(order) == sorted(labels)
    assert all(order.index(a) < order.index(b) for a, b in trace.edges)
