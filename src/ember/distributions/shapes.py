"""Shapes of batches and events: broadcasting of shapes, sums over the dims at either end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def broadcast_shape(*shapes: Sequence[int], strict: bool = False) -> tuple[int, ...]:
    """The shape that tensors of the given shapes broadcast to.

    Args:
        shapes: any number of shapes.
        strict: dims may be added on the left, but a dim of size 1 may not be resized.

    Raises:
        ValueError: if the shapes do not broadcast; the message lists them.

    >>> broadcast_shape((3, 1), (2,))
    (3, 2)
    """
    result: list[int] = []  # from right to left
    for shape in shapes:
        for i, size in enumerate(reversed(shape)):
            if i == len(result):
                result.append(size)
            elif result[i] == size:
                continue
            elif result[i] == 1 and not strict:
                result[i] = size
            elif size != 1 or strict:
                listed = " vs ".join(str(s) for s in shapes)
                raise ValueError(f"shape mismatch: objects cannot be broadcast to a single shape: {listed}")
    return tuple(reversed(result))


def sum_rightmost(value: object, dim: float) -> Any:
    """Sum over the ``dim`` rightmost dims; a negative ``dim`` keeps that many dims on the left.

    Args:
        value: a tensor, or a number, which comes back unchanged.
        dim: how many dims to sum; ``float("inf")`` for all.

    >>> sum_rightmost(torch.ones(2, 3, 4), 2)
    tensor([12., 12.])
    """
    if not isinstance(value, torch.Tensor):
        return value
    ndim = value.dim()
    if dim < 0:
        dim += ndim
    if dim == 0:
        return value
    if dim >= ndim:
        return value.sum()
    if dim == 1:
        return value.sum(-1)
    return value.sum(tuple(range(ndim - int(dim), ndim)))


def sum_leftmost(value: object, dim: float) -> Any:
    """Sum over the ``dim`` leftmost dims; a negative ``dim`` keeps that many dims on the right.

    >>> sum_leftmost(torch.ones(2, 3, 4), -1)
    tensor([6., 6., 6., 6.])
    """
    if not isinstance(value, torch.Tensor):
        return value
    ndim = value.dim()
    if dim < 0:
        dim += ndim
    if dim == 0:
        return value
    if dim >= ndim:
        return value.sum()
    return value.sum(tuple(range(int(dim))))
