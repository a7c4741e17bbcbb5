"""Draws by site, along dim 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ember.errors import ModelError


def thinned(draws: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """At most so many of the draws, evenly from the first to the last."""
    size = number_of(draws)
    if size <= number:
        return dict(draws)
    chosen = torch.linspace(0, size - 1, number, dtype=torch.float64).round().long()
    return {name: value[chosen] for name, value in draws.items()}


def number_of(draws: Mapping[str, Tensor]) -> int:
    """How many draws there are.

    Raises:
        ModelError: if their number differs from site to site.
    """
    sizes = {name: len(value) for name, value in draws.items()}
    if len(set(sizes.values())) > 1:
        raise ModelError(f"all sites must have the same number of draws along dim 0, got {sizes}")
    return next(iter(sizes.values()), 0)
