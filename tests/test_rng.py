"""Seeds and states of the generators."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import ember
from ember.rng import fork_rng, fork_torch_rng, get_rng_state, same_torch_states, set_rng_state, torch_states


def draws():
    return torch.rand(()).item(), random.random(), np.random.rand()


def test_one_seed_for_all():
    ember.set_rng_seed(3)
    first = draws()
    ember.set_rng_seed(3)
    assert draws() == first
    ember.set_rng_seed(4)
    assert not any(a == b for a, b in zip(draws(), first, strict=True))


def test_states_are_restored():
    state = get_rng_state()
    assert set(state) == {"torch", "random", "numpy"}
    first = draws()
    draws()
    set_rng_state(state)
    assert draws() == first


def test_states_are_snapshots():
    state = get_rng_state()
    kept = state["torch"].clone()
    draws()
    assert torch.equal(state["torch"], kept)


def test_a_fork_leaves_all_streams_alone():
    state = get_rng_state()
    with fork_rng():
        first = draws()
    assert draws() == first
    set_rng_state(state)
    with fork_torch_rng() as before:
        draws()
        assert not same_torch_states(before, torch_states())
    assert same_torch_states(before, torch_states())
    assert draws()[0] == first[0]


def test_an_error_inside_a_fork_puts_the_streams_back():
    before = torch_states()
    for fork in (fork_rng, fork_torch_rng):
        with pytest.raises(KeyError):
            with fork():
                draws()
                raise KeyError
        assert same_torch_states(before, torch_states())
