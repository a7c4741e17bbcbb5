"""Products along a chain in a number of steps that grows with the logarithm of its length."""

from __future__ import annotations

import torch
from torch import Tensor

from ember.ops.logspace import logmatmulexp

__all__ = ["compose_maps", "sequential_logmatmulexp"]


def sequential_logmatmulexp(logits: Tensor) -> Tensor:
    """The product of a chain of matrices of logarithms, by halving the chain.

    Args:
        logits: the matrices, with the chain along the third dim from the right.

    Shapes: ``logits`` is ``(..., time, n, n)``, the result is ``(..., n, n)``.

    References:
        S. Sarkka, A. Garcia-Fernandez (2019), "Temporal parallelization of Bayesian smoothers".

    >>> x = torch.tensor([[0.8, 0.2], [0.3, 0.7]]).log()
    >>> sequential_logmatmulexp(x.expand(3, 2, 2)).exp()
    tensor([[0.6500, 0.3500],
            [0.5250, 0.4750]])
    """
    while logits.shape[-3] > 1:
        even = logits.shape[-3] // 2 * 2
        pairs = logmatmulexp(logits[..., 0:even:2, :, :], logits[..., 1:even:2, :, :])
        logits = torch.cat([pairs, logits[..., even:, :, :]], dim=-3)
    return logits.squeeze(-3)


def compose_maps(maps: Tensor) -> Tensor:
    """For a chain of maps of ``0, ..., n - 1`` into itself, where each start is after each of them.

    Args:
        maps: the images, with the chain along the second dim from the right.

    Shapes: ``maps`` and the result are ``(..., time, n)``.

    >>> compose_maps(torch.tensor([[1, 2, 0], [0, 0, 2], [2, 1, 1]]))
    tensor([[1, 2, 0],
            [0, 2, 0],
            [2, 1, 2]])
    """
    reach = 1
    while reach < maps.shape[-2]:
        # Each entry covers the last ``reach`` maps, then twice as many.
        longer = maps[..., reach:, :].gather(-1, maps[..., :-reach, :])
        maps = torch.cat([maps[..., :reach, :], longer], dim=-2)
        reach *= 2
    return maps
