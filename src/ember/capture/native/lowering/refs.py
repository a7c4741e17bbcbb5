"""Tensors of a graph as views of pieces of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import torch

from ember.capture.native.values.arrays import Value
from ember.capture.native.values.layout import Dims, sorted_dims
from ember.capture.recording.meta import Meta
from ember.torch_private.operators import OpOverload


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

    @property
    def meta(self) -> Meta:
        """Its layout, as an operator that changes it in place leaves it."""
        return Meta(self.dtype, self.shape, self.strides, self.offset, -1, "cpu")

    def over(self, shape: Dims) -> Dims:
        """Strides of this tensor, broadcast to a shape."""
        missing = len(shape) - len(self.shape)
        own = [0 if size == 1 else stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return (*[0] * missing, *own)


@dataclass(frozen=True)
class Layout:
    """Where the elements of a tensor lie: its dims of more than one element, widest stride first."""

    order: tuple[int, ...]
    """Which of the tensor's dims these are."""
    dims: Dims
    strides: Dims


@lru_cache(10_000)
def layout(shape: Dims, strides: Dims) -> Layout:
    """The layout of a tensor of these sizes and strides."""
    order = tuple(sorted_dims(shape, strides))
    return Layout(order, tuple(shape[i] for i in order), tuple(strides[i] for i in order))


@cache
def row_name(op: OpOverload) -> str:
    """The name of an operator's row: ``add.Tensor`` for ``aten::add.Tensor``; with the namespace where that is not aten."""
    namespace, _, plain = op._schema.name.partition("::")
    overload = op._schema.overload_name or "default"
    return f"{plain}.{overload}" if namespace == "aten" else f"{op._schema.name}.{overload}"


def turned(ref: Ref) -> Ref:
    """A tensor of matrices, each of them transposed."""
    return replace(ref, shape=transposed(ref.shape), strides=transposed(ref.strides))


def transposed(dims: Dims) -> Dims:
    """Sizes or strides with the last two exchanged."""
    *before, rows, columns = dims
    return (*before, columns, rows)
