"""Sources are followed through torch's functions and containers, and noted where they are lost sight of."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ember.ops.provenance import (
    ProvenanceTensor,
    Watch,
    detach_provenance,
    extract_provenance,
    get_provenance,
    track_provenance,
)


def tracked(source="z", value=None):
    return ProvenanceTensor(torch.arange(1.0, 4.0) if value is None else value, frozenset(source))


def test_without_sources_a_tensor_stays_what_it_is():
    x = torch.ones(2)
    assert ProvenanceTensor(x) is x and track_provenance(x, frozenset()) is x
    assert get_provenance(x) == frozenset() == get_provenance("text")


def test_detaching_gives_the_same_object_each_time():
    x = torch.ones(2)
    y = ProvenanceTensor(x, frozenset("a"))
    assert detach_provenance(y) is x and detach_provenance(track_provenance(y, frozenset("b"))) is x
    assert extract_provenance(y) == (x, frozenset("a")) and detach_provenance(x) is x


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: (x, 1), lambda x: {x}, lambda x: frozenset([x])]
)
def test_containers_keep_their_type_and_unite_sources(wrap):
    value = wrap(tracked("a"))
    marked = track_provenance(value, frozenset("b"))
    assert type(marked) is type(value) and get_provenance(marked) == frozenset("ab")
    assert get_provenance(detach_provenance(marked)) == frozenset()
    assert get_provenance({"key": [value, {"inner": tracked("c")}]}) == frozenset("ac")


@given(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_results_have_the_sources_of_all_arguments(a, b, c):
    x, y, z = (track_provenance(torch.ones(2), frozenset(sources)) for sources in (a, b, c))
    assert get_provenance(torch.where(x > 0, y, z)) == a | b | c
    assert get_provenance(torch.stack([x, y])[:, :1] + detach_provenance(z)) == a | b


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.float32])
def test_conversions(dtype):
    x = tracked()
    assert torch.equal(torch.as_tensor(x, dtype=dtype, device="cpu"), detach_provenance(x).to(dtype))
    assert get_provenance(x.to(dtype)) == frozenset("z")
    with Watch():
        assert get_provenance(torch.as_tensor(x, dtype=dtype)) == frozenset("z")


def test_gradients_flow():
    x = torch.ones(3, requires_grad=True)
    (tracked(value=x) * 2).sum().backward()
    assert torch.equal(x.grad, torch.full((3,), 2.0))


def test_writing_in_place_adds_sources():
    x = tracked("a")
    x.add_(tracked("b"))
    x[0] = tracked("c")[1]
    assert get_provenance(x) == frozenset("abc")


def written():
    x = torch.zeros(3)
    x[0] = tracked()[0]
    return x


LOSING = {
    "item": lambda: tracked()[0].item(),
    "branch": lambda: 1 if tracked()[0] > 0 else 2,
    "list": lambda: tracked().tolist(),
    "numpy": lambda: tracked().numpy(),
    "index": lambda: [3, 4, 5][int(tracked()[0])],
    "membership": lambda: 1.0 in tracked(),
    "written": written,
    "out": lambda: torch.add(tracked(), 1, out=torch.zeros(3)),
}
KEEPING = {
    "iteration": lambda: [x + 1 for x in tracked()],
    "unpacking": lambda: (lambda a, b, c: a + b)(*tracked()),
    "indexing": lambda: torch.arange(9.0)[tracked().long()],
    "sizes": lambda: tracked() * (len(tracked()) + tracked().dim() + tracked().shape[0]),
    "checks": lambda: torch.distributions.Normal(tracked(), tracked(), validate_args=True).mean,
}


@pytest.mark.parametrize("how", LOSING)
def test_lost_sources_are_noted(how):
    with Watch() as watch:
        LOSING[how]()
    assert watch.lost == frozenset("z")
    LOSING[how]()  # without a watch it is just as legal


@pytest.mark.parametrize("how", KEEPING)
def test_nothing_is_lost(how):
    with Watch() as watch:
        result = KEEPING[how]()
    assert watch.lost == frozenset() and get_provenance(result) == frozenset("z")
