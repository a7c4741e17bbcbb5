"""Expanding a batch of draws, for distributions that cannot expand their own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Size


def check_expansion(old: Size, new: Size) -> None:
    """Check that a batch shape only grows.

    Raises:
        ValueError: if the new shape drops a dim, or resizes one whose size is not 1.
    """
    tail = new[len(new) - len(old) :]
    if len(new) < len(old) or any(i not in (1, j) for i, j in zip(old, tail, strict=True)):
        raise ValueError(f"Cannot broadcast distribution of shape {old} to shape {new}")


def draw_expanded(dist: Any, draw: Callable[[Size], Any], sample_shape: Sequence[int]) -> Any:
    """Draw from the base of an expanded distribution, independently along the new and the resized dims.

    The base draws these dims as sample dims; then the resized ones swap places with the dims of size 1 that
    they replace.
    """
    base_shape, batch_shape = dist.base_dist.batch_shape, dist.batch_shape
    outer = len(batch_shape) - len(base_shape)
    resized = [i for i, size in enumerate(base_shape) if size == 1 and batch_shape[outer + i] != 1]
    lead = Size(sample_shape) + batch_shape[:outer]
    samples = draw(Size((*lead, *(batch_shape[outer + i] for i in resized))))
    for k, i in enumerate(resized):
        samples = samples.transpose(len(lead) + k, len(lead) + len(resized) + i)
    return samples.reshape(dist.shape(sample_shape))
