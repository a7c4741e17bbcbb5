"""Tensors of a graph as views of pieces of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ember.capture.meta import Meta
from ember.capture.native.values.arrays import Dims, Value
from ember.capture.native.values.arrays import contiguous as contiguous


@dataclass(eq=False)
class Memory:
    """A piece of memory: what it holds now, and whether the graph has written to it."""

    value: Value
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


def row_name(op: Any) -> str:
    """The name of an operator's row: ``add.Tensor`` for ``aten::add.Tensor``; with the namespace where that is not aten."""
    namespace, _, plain = op._schema.name.partition("::")
    overload = op._schema.overload_name or "default"
    return f"{plain}.{overload}" if namespace == "aten" else f"{op._schema.name}.{overload}"


def meta_of_ref(ref: Ref) -> Meta:
    """The layout of a tensor, as an operator that changes it in place leaves it."""
    return Meta(ref.dtype, ref.shape, ref.strides, ref.offset, -1, "cpu")
