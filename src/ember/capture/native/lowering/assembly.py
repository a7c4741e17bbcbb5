"""What values are made of that are put together from parts, and reads and writes where indices say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ember.capture.native.lowering.elementwise import copy
from ember.capture.native.lowering.refs import Ref, layout
from ember.capture.native.lowering.workspace import OpCall, Workspace
from ember.capture.native.values.arrays import Access, Assemble, Constant, Part, Take, Value, Walk
from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.native.values.unsupported import UnsupportedError


@dataclass(frozen=True)
class Indexing:
    """A tensor of indices into one dim of another tensor."""

    ref: Ref
    over: Dims
    """Its strides over what is read or written."""
    stride: int
    size: int
    """Of the dim that it walks."""
    wraps: bool = False
    """Whether negative indices count from its end."""

    def walk(self, order: Sequence[int]) -> Walk:
        """The same over those dims that are in ``order``."""
        access = Access(self.ref.memory.value, self.ref.offset, tuple(self.over[i] for i in order))
        return Walk(access, self.stride, self.size, self.wraps)


@dataclass(frozen=True)
class Place:
    """Where elements of a shape go: from ``offset`` on, with strides over the shape, and where indices say."""

    shape: Dims
    offset: int
    strides: Dims
    indices: Sequence[Indexing] = ()
    accumulate: bool = False


def taken(
    low: Workspace, call: OpCall, source: Ref, source_strides: Dims, indices: Sequence[Indexing]
) -> Value:
    """Elements of a source, its strides being over the result."""
    for index in indices:
        if index.ref.dtype.is_floating_point or index.ref.dtype == torch.bool:
            raise UnsupportedError(f"indices of dtype {index.ref.dtype}")
        if index.size == 0:
            raise UnsupportedError("an index into an empty tensor")
    to = layout(call.meta.shape, call.meta.stride)
    strides = tuple(source_strides[i] for i in to.order)
    return Take(
        call.meta.dtype,
        to.dims,
        to.strides,
        origin=call.origin,
        source=Access(source.memory.value, source.offset, strides),
        walks=tuple(index.walk(to.order) for index in indices),
    )


def put(low: Workspace, call: OpCall, base: Ref | Number, values: Ref | Number, place: Place) -> Value:
    """``base`` (a tensor or a number) with values put in a place."""
    to = layout(call.meta.shape, call.meta.stride)
    if isinstance(base, Ref):
        copied = copy(low, call, base)
        under = Access(copied, 0, copied.strides)
    else:
        under = Access(low.build.constant(base, call.meta.dtype), 0, (0,) * len(to.dims))
    parts = (part(low, call, values, place),) if math.prod(place.shape) else ()
    return Assemble(
        call.meta.dtype, to.dims, to.strides, base=under, parts=parts, ordered=True, origin=call.origin
    )


def assembled(
    low: Workspace, call: OpCall, fill: Number | None, parts: Sequence[tuple[Ref, int, Dims]]
) -> Value:
    """Fresh memory filled with a number (None: the parts cover it), and tensors written to ``(offset, strides)`` of it."""
    to = layout(call.meta.shape, call.meta.stride)
    base = None
    if fill is not None:
        base = Access(low.build.constant(fill, call.meta.dtype), 0, (0,) * len(to.dims))
    written = tuple(
        part(low, call, ref, Place(ref.shape, offset, strides)) for ref, offset, strides in parts if ref.numel
    )
    return Assemble(
        call.meta.dtype, to.dims, to.strides, base=base, parts=written, ordered=False, origin=call.origin
    )


def part(low: Workspace, call: OpCall, values: Ref | Number, place: Place) -> Part:
    """Write a tensor, broadcast to the shape of a place, to it."""
    shape, to, dtype = place.shape, place.strides, call.meta.dtype
    own = values.over(shape) if isinstance(values, Ref) else (0,) * len(shape)
    order = sorted((i for i, n in enumerate(shape) if n != 1), key=lambda i: (-to[i], -own[i]))
    dims = tuple(shape[i] for i in order)
    access = low.read(values, shape, order, dtype)
    if access.value.dtype != dtype and not isinstance(access.value, Constant):
        access = low.build.converted(access, dims, contiguous(dims), dtype=dtype, origin=call.origin)
    strides = tuple(to[i] for i in order)
    walks = tuple(index.walk(order) for index in place.indices)
    return Part(access, dims, place.offset, strides, walks, place.accumulate)
