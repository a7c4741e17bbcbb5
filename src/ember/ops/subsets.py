"""A random subset in a time that depends on its size alone.

Shuffling by exchanges (Durstenfeld, 1964) settles one place after another: the first k places of a shuffled range need k
exchanges. Which of the range lies where is kept for exchanged places only.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

FEWEST = 20_000
"""Smaller ranges are shuffled whole, by ``torch.randperm``, as in Pyro."""
_SHARE = 16
_MOST = 2**63 - 1
_LIBRARIES: list[Any] = []
"""A registration lives as long as its object."""


def random_subset(size: int, count: int, device: Any = None) -> Tensor:
    """``count`` of the numbers below ``size``, without repetition, all subsets being equally likely.

    Args:
        size: of the range.
        count: how many.
        device: where they are needed.

    Returns:
        A tensor of shape ``(count,)`` and dtype int64: the first of ``torch.randperm(size)`` for ranges of at
            most ``FEWEST`` numbers, and where more than a sixteenth of them are drawn.

    >>> len(set(random_subset(1_000_000, 100).tolist()))
    100
    """
    if size <= FEWEST or count * _SHARE > size:
        return torch.randperm(size, device=device)[:count].clone()
    chosen: Tensor = operator()(torch.randint(0, _MOST, (count,), device=device), size)
    return chosen


@functools.cache
def operator() -> Any:
    """``ember::subset``, registered when it is first needed, so that a recorded step has it as one operator."""
    new: Any = torch.library.Library
    library = new("ember", "FRAGMENT")
    library.define("subset(Tensor bits, int size) -> Tensor")
    library.impl("subset", _subset, "CompositeExplicitAutograd")
    library.impl("subset", lambda bits, size: torch.empty_like(bits), "Meta")
    _LIBRARIES.append(library)
    return torch.ops.ember.subset.default


def _subset(bits: Tensor, size: int) -> Tensor:
    moved: dict[int, int] = {}
    chosen = []
    for place, number in enumerate(bits.tolist()):
        other = place + number % (size - place)
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return torch.tensor(chosen, dtype=torch.int64, device=bits.device)
