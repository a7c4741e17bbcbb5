"""Seeds and states of the random number generators that a program may draw from: torch, random, numpy."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_HAS_NUMPY = importlib.util.find_spec("numpy") is not None


def set_rng_seed(rng_seed: int) -> None:
    """Seed torch (all devices), :mod:`random`, and numpy if it is installed."""
    torch.manual_seed(rng_seed)
    random.seed(rng_seed)
    if _HAS_NUMPY:
        importlib.import_module("numpy").random.seed(rng_seed)


def get_rng_state() -> dict[str, Any]:
    """The states of torch's CPU generator, :mod:`random` and numpy, to be given to :func:`set_rng_state`."""
    state = {"torch": torch.get_rng_state(), "random": random.getstate()}
    if _HAS_NUMPY:
        state["numpy"] = importlib.import_module("numpy").random.get_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the states that :func:`get_rng_state` returned."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["random"])
    if "numpy" in state:
        importlib.import_module("numpy").random.set_state(state["numpy"])


@contextmanager
def preserved() -> Iterator[None]:
    """Leave all generators, those of devices in use among them, as they were before the block.

    >>> _ = torch.manual_seed(0)
    >>> with preserved():
    ...     first = torch.rand(3)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    state = get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        set_rng_state(state)
        if devices:
            torch.cuda.set_rng_state_all(devices)
