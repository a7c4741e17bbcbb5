"""Seeds and states of the random number generators that a program may draw from: torch, random, numpy."""

from __future__ import annotations

import importlib.util
import random
from typing import Any

import torch
from torch import Tensor

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


def random_states() -> list[Tensor]:
    """The states of torch's generators: the CPU's and, where they are in use, those of all CUDA devices."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: list[Tensor]) -> None:
    """Go back to :func:`random_states`."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])
