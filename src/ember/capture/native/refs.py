"""Tensors of a graph as views of pieces of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ember.capture.native.ir import Dims, Value
from ember.capture.native.ir import contiguous as contiguous


@dataclass(eq=False)
class Memory:
    """A piece of memory: what it holds now, and which input it is."""

    value: Value
    index: int | None = None
    changed: bool = False


@dataclass(frozen=True, eq=False)
class Ref:
    """A tensor of the graph: a view of a piece of memory."""

    memory: Memory
    offset: int
    shape: Dims
    strides: Dims
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def over(self, shape: Dims) -> Dims:
        """Strides of this tensor, broadcast to a shape."""
        missing = len(shape) - len(self.shape)
        own = [0 if size == 1 else stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return (*[0] * missing, *own)
