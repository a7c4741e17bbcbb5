"""Indexing by draws without dims, which a recorded program cannot turn into Python integers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ember
import ember.distributions as dist
from ember.capture.recording.scalar_index import index
from ember.capture.recording.value_guard import ValueGuard, is_recording
from ember.infer import TraceEnum_ELBO

from .fitting import new_svi

VALUES = torch.arange(120).reshape(2, 3, 4, 5)
ITEMS = st.one_of(
    st.sampled_from([0, 1, -1]).map(torch.tensor),
    st.sampled_from([0, 1, -2, None, slice(None), slice(0, 1), slice(None, None, 2)]),
    st.just(torch.tensor([1, 0, 1])),
)


@given(items=st.lists(ITEMS, min_size=1, max_size=4), dots=st.none() | st.integers(0, 4))
def test_scalars_mean_what_they_mean_to_torch(items, dots):
    if dots is not None:
        items = [*items[:dots], Ellipsis, *items[dots:]]
    key = tuple(items)
    assert torch.equal(index(VALUES, key), VALUES[key])


def test_single_keys_and_masks():
    rows = torch.tensor([True, False])
    assert torch.equal(index(VALUES, torch.tensor(-1)), VALUES[-1])
    assert torch.equal(index(VALUES, (rows, torch.tensor(2))), VALUES[rows, 2])
    assert torch.equal(index(VALUES, rows), VALUES[rows])
    with pytest.raises((IndexError, RuntimeError)):
        index(VALUES, torch.tensor(5))


def test_recordings_are_known_to_the_program():
    assert not is_recording()
    with ValueGuard():
        assert is_recording()
    assert not is_recording()


@pytest.mark.parametrize("mode", ["sequential", None])
def test_compiled_programs_index_by_draws(mode):
    table = torch.tensor([[0.2, 0.8], [0.6, 0.4]])

    def model():
        a = ember.sample("a", dist.Categorical(torch.tensor([0.3, 0.7])))
        ember.sample("b", dist.Categorical(table[a]))

    def guide():
        q = ember.param("q", torch.tensor([0.1, -0.2]))
        r = ember.param("r", torch.tensor([[0.3, 0.1], [0.2, 0.4]]))
        a = ember.sample("a", dist.Categorical(logits=q), infer={"enumerate": mode})
        ember.sample("b", dist.Categorical(logits=r[a]), infer={"enumerate": "parallel"})

    losses = []
    for compiled in (False, True):
        svi = new_svi(model, guide, loss=TraceEnum_ELBO(max_plate_nesting=0), compile=compiled)
        losses.append([svi.step() for _ in range(6)])
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
