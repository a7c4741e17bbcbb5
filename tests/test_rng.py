"""Seeds and states of the generators."""

from __future__ import annotations

import random

import numpy as np
import torch

import ember
from ember.rng import get_rng_state, set_rng_state


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
