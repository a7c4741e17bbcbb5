"""Draws of equal weight out of weighed ones."""

from __future__ import annotations

import torch
from torch import Tensor


def resampled(log_weights: Tensor, ess: float, draws: int, seed: int) -> Tensor:
    """The numbers of the rows that are drawn, ``(draws,)``, in random order.

    Where there are many more effective draws than are asked for, no row comes twice.

    Args:
        log_weights: normalised, ``(S,)``.
        ess: effective sample size of the weights.
        draws: how many are asked for.
        seed: of the choice.

    >>> resampled(torch.full((100,), 0.01).log(), 100.0, 20, 0).unique().numel()
    20
    """
    generator = torch.Generator().manual_seed(seed)
    weights = log_weights.exp()
    enough = int((weights > 0).sum())
    replace = not (ess > 2 * draws and enough >= draws)
    return torch.multinomial(weights, draws, replacement=replace, generator=generator)
