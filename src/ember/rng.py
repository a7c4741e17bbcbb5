"""Seeds and states of the random number generators that a program may draw from: torch (CPU and CUDA), random, numpy."""

from __future__ import annotations

import importlib.util
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_HAS_NUMPY = importlib.util.find_spec("numpy") is not None


def set_rng_seed(rng_seed: int) -> None:
    """Seed torch (all devices), :mod:`random`, and numpy if it is installed.

    Args:
        rng_seed: the seed, an integer.

    >>> import torch, ember
    >>> ember.set_rng_seed(1)
    >>> first = torch.randn(3)
    >>> ember.set_rng_seed(1)
    >>> bool((torch.randn(3) == first).all())
    True
    """
    torch.manual_seed(rng_seed)
    random.seed(rng_seed)
    if _HAS_NUMPY:
        importlib.import_module("numpy").random.seed(rng_seed)


def get_rng_state() -> dict[str, Any]:
    """The states of all generators, to be given to :func:`set_rng_state`; those of CUDA devices where they are in use."""
    cpu, *cuda = torch_states()
    state: dict[str, Any] = {"torch": cpu, "random": random.getstate()}
    if cuda:
        state["cuda"] = cuda
    if _HAS_NUMPY:
        state["numpy"] = importlib.import_module("numpy").random.get_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the states that :func:`get_rng_state` returned."""
    set_torch_states([state["torch"], *state.get("cuda", ())])
    random.setstate(state["random"])
    if "numpy" in state:
        importlib.import_module("numpy").random.set_state(state["numpy"])


def as_plain_data(state: dict[str, Any]) -> dict[str, Any]:
    """States of generators as tensors and plain data, for a file.

    >>> sorted(as_plain_data(get_rng_state()))[-1]
    'torch'
    """
    plain = dict(state)
    if "numpy" in plain:
        kind, keys, *rest = plain["numpy"]
        plain["numpy"] = (kind, [int(key) for key in keys], *rest)
    return plain


def torch_states() -> list[Tensor]:
    """The states of torch's own generators: the CPU's and, where they are in use, those of all CUDA devices."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    return states


def set_torch_states(states: list[Tensor]) -> None:
    """Go back to :func:`torch_states`."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def same_torch_states(states: list[Tensor], others: list[Tensor]) -> bool:
    """Whether no generator has drawn between two :func:`torch_states`; devices that only one of them has count as drawn from."""
    return len(states) == len(others) and all(map(torch.equal, states, others))


def others_draw(seconds: float = 0.05) -> bool:
    """Whether another thread has drawn from torch's generators while this one waited so long.

    >>> others_draw(0.001)
    False
    """
    before, end = torch_states(), time.monotonic() + seconds
    while same := same_torch_states(before, torch_states()):
        if time.monotonic() > end:
            break
        time.sleep(0.001)
    return not same


@contextmanager
def fork_rng() -> Iterator[None]:
    """Leave the streams of all generators as they were, whatever is drawn inside.

    >>> with fork_rng():
    ...     a = torch.rand(())
    >>> torch.equal(torch.rand(()), a)
    True
    """
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


@contextmanager
def fork_torch_rng() -> Iterator[list[Tensor]]:
    """As :func:`fork_rng` for torch's generators alone, which is faster; yields their states before."""
    states = torch_states()
    try:
        yield states
    finally:
        set_torch_states(states)
