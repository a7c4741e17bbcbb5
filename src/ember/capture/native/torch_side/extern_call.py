"""One call of torch: an operator, and the memory that it works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Buffer:
    """Memory seen as a tensor."""

    place: tuple[int, int]
    """By which the caller knows where its first element lies: a piece of memory, and how many bytes in."""
    dtype: torch.dtype
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class ExternCall:
    """An operator with a :class:`Buffer` for each tensor among its arguments (also in lists).

    Its results are copied to ``outputs``; None leaves one out. Arguments that the operator changes are changed in their place, so
    a program that must keep them copies them first.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Buffer | None, ...] = ()

    @property
    def factors(self) -> tuple[float, float]:
        """Of the matrix and of the product, where the operator has those."""
        return float(self.kwargs.get("beta", 1)), float(self.kwargs.get("alpha", 1))
