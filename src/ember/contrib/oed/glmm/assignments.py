"""Designs that divide participants into groups."""

from __future__ import annotations

import torch
from torch import Tensor


def group_assignment_matrix(design: Tensor) -> Tensor:
    """A row for each participant, with a one in the column of the group.

    Args:
        design: the sizes of the groups.

    Shapes: for p groups of n participants together, the result is ``(n, p)``.

    Raises:
        ValueError: if a size is negative.

    >>> group_assignment_matrix(torch.tensor([2, 0, 1]))
    tensor([[1., 0., 0.],
            [1., 0., 0.],
            [0., 0., 1.]])
    """
    sizes = design.long()
    if (sizes < 0).any():
        raise ValueError(f"sizes of groups cannot be negative, got {design.tolist()}")
    return torch.eye(len(sizes)).repeat_interleave(sizes, dim=0)


def rf_group_assignments(n: int, random_intercept: bool = True) -> tuple[Tensor, Tensor]:
    """All ways to divide two halves of n participants into two groups, the second half the other way round.

    Args:
        n: how many participants.
        random_intercept: add a column for each participant.

    Returns:
        Designs ``(n / 2 + 1, n, 2)`` or ``(n / 2 + 1, n, 2 + n)``, and the columns of the participants, ``(n, n)``.

    Raises:
        AssertionError: if n is odd.
    """
    assert n % 2 == 0, f"the participants are two halves, and {n} is odd"
    half = n // 2
    designs = []
    for first in range(half + 1):
        halves = torch.tensor([first, half - first]), torch.tensor([half - first, first])
        designs.append(torch.cat([group_assignment_matrix(sizes) for sizes in halves]))
    divided, participants = torch.stack(designs), torch.eye(n)
    if random_intercept:
        divided = torch.cat([divided, participants.expand(half + 1, n, n)], dim=-1)
    return divided, participants
