"""Operators that gather and scatter elements by tensors of indices, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ember.capture.native.lowering.assembly import Indexing, Place, put, taken
from ember.capture.native.lowering.elementwise import A, B, C, Operands, copy, flat, pointwise
from ember.capture.native.lowering.refs import Ref
from ember.capture.native.lowering.workspace import Lower, OpCall, Workspace
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.expressions import Expression, op
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.meta import Meta


def _indexed(ref: Ref, indices: Sequence[Ref | None], strides: Dims) -> Place:
    """All places to which indices into several dims lead, in memory with these strides over the dims of ``ref``."""
    used = [d for d, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    rest = [d for d in range(len(ref.shape)) if d not in used]
    shape = tuple(torch.broadcast_shapes(*(index.shape for index in given)))  # type: ignore[no-untyped-call]
    at = used[0] if used == list(range(used[0], used[-1] + 1)) else 0

    def over(values: Sequence[int], inner: Dims) -> Dims:
        """Those of the dims that are not indexed, with those of the indices put in."""
        return (*values[:at], *inner, *values[at:])

    walks = [
        Indexing(index, over([0] * len(rest), index.over(shape)), strides[d], ref.shape[d], wraps=True)
        for d, index in zip(used, given, strict=True)
    ]
    own = over([strides[d] for d in rest], (0,) * len(shape))
    return Place(over([ref.shape[d] for d in rest], shape), 0, own, walks)


def _index(low: Workspace, call: OpCall) -> Value:
    ref = call.ref("self")
    place = _indexed(ref, call["indices"], ref.strides)
    return taken(low, call, ref, place.strides, place.indices)


def _index_put(low: Workspace, call: OpCall) -> Value:
    ref, indices = call.ref("self"), call["indices"]
    if any(index is not None and index.dtype == torch.bool for index in indices):
        return _masked_put(low, call)
    place = _indexed(ref, indices, call.meta.stride)
    return put(low, call, ref, call.operand("values"), replace(place, accumulate=call.flag("accumulate")))


def _masked_put(low: Workspace, call: OpCall) -> Value:
    ref, masks, values = call.ref("self"), call["indices"], call.ref("values")
    if len(masks) != 1 or masks[0].shape != ref.shape or values.numel != 1 or call.flag("accumulate"):
        raise UnsupportedError("index_put with a mask and several values")
    dtype = call.meta.dtype
    scalar = Ref(values.memory, values.offset, (), (), values.dtype)
    operands = [(masks[0], torch.bool), (scalar, dtype), (ref, dtype)]
    return pointwise(low, call, op("choose", A, B, C), operands)


def _over_dim(index: Ref, dim: int, rank: int) -> Dims:
    """Strides of an index of one dim over all dims."""
    return tuple(index.strides[0] if d == dim and index.shape else 0 for d in range(rank))


def _without(strides: Dims, dim: int) -> Dims:
    return tuple(0 if d == dim else stride for d, stride in enumerate(strides))


def _index_select(low: Workspace, call: OpCall) -> Value:
    ref, index = call.ref("self"), call.ref("index")
    dim = call.dim("dim", len(ref.shape))
    walk = Indexing(index, _over_dim(index, dim, len(ref.shape)), ref.strides[dim], ref.shape[dim])
    return taken(low, call, ref, _without(ref.strides, dim), [walk])


def _embedding(low: Workspace, call: OpCall) -> Value:
    ref, index = call.ref("weight"), call.ref("indices")
    own = (*(0,) * len(index.shape), ref.strides[1])
    return taken(low, call, ref, own, [Indexing(index, (*index.strides, 0), ref.strides[0], ref.shape[0])])


def _gather(low: Workspace, call: OpCall) -> Value:
    ref, index = call.ref("self"), call.ref("index")
    if not ref.shape:
        return copy(low, call, ref)
    dim = call.dim("dim", len(ref.shape))
    walk = Indexing(index, index.strides, ref.strides[dim], ref.shape[dim])
    return taken(low, call, ref, _without(ref.strides, dim), [walk])


def _take(low: Workspace, call: OpCall) -> Value:
    source, index = flat(low, call.ref("self")), call.ref("index")
    walk = Indexing(index, index.strides, 1, source.numel, wraps=True)
    return taken(low, call, source, (0,) * len(index.shape), [walk])


def _put_flat(low: Workspace, call: OpCall) -> Value:
    ref, index, values = call.ref("self"), call.ref("index"), call.ref("source")
    if any(
        n != 1 and s != d
        for n, s, d in zip(call.meta.shape, call.meta.stride, contiguous(ref.shape), strict=True)
    ):
        raise UnsupportedError("put into memory that does not lie row by row")
    if values.shape != index.shape:
        raise UnsupportedError("put of values of another shape than the indices")
    walks = [Indexing(index, index.strides, 1, ref.numel, wraps=True)]
    place = Place(index.shape, 0, (0,) * len(index.shape), walks, call.flag("accumulate"))
    return put(low, call, ref, values, place)


def _changed(low: Workspace, call: OpCall, ref: Ref, whole: Expression, more: Operands) -> Ref:
    """An expression over the elements of a tensor, ``A``, and other operands."""
    meta = Meta(ref.dtype, ref.shape, contiguous(ref.shape), 0, -1, "cpu")
    return low.placed(pointwise(low, call, whole, [(ref, ref.dtype), *more], meta), meta)


def _scatter(accumulate: bool, source: str) -> Lower:
    def lower(low: Workspace, call: OpCall) -> Value:
        ref, index, values = call.ref("self"), call.ref("index"), call.operand(source)
        if not ref.shape:
            raise UnsupportedError("a scatter to a single number")
        dim = call.dim("dim", len(ref.shape))
        to = call.meta.stride
        if isinstance(values, Ref):
            values = Ref(values.memory, values.offset, index.shape, values.strides, values.dtype)
        walks = [Indexing(index, index.strides, to[dim], ref.shape[dim])]
        return put(low, call, ref, values, Place(index.shape, 0, _without(to, dim), walks, accumulate))

    return lower


def _index_add(low: Workspace, call: OpCall) -> Value:
    ref, index, source = call.ref("self"), call.ref("index"), call.ref("source")
    if not ref.shape:
        raise UnsupportedError("index_add to a single number")
    if call.operand("alpha") != 1:
        source = _changed(low, call, source, A * B, [(call.operand("alpha"), source.dtype)])
    dim = call.dim("dim", len(ref.shape))
    to = call.meta.stride
    walks = [Indexing(index, _over_dim(index, dim, len(ref.shape)), to[dim], ref.shape[dim])]
    return put(low, call, ref, source, Place(source.shape, 0, _without(to, dim), walks, True))


def _index_copy(low: Workspace, call: OpCall) -> Value:
    ref, index, source = call.ref("self"), call.ref("index"), call.ref("source")
    if not ref.shape:
        raise UnsupportedError("index_copy to a single number")
    dim = call.dim("dim", len(ref.shape))
    to = call.meta.stride
    walks = [Indexing(index, _over_dim(index, dim, len(ref.shape)), to[dim], ref.shape[dim])]
    return put(low, call, ref, source, Place(source.shape, 0, _without(to, dim), walks))


def _index_fill(low: Workspace, call: OpCall) -> Value:
    ref, index = call.ref("self"), call.ref("index")
    if not ref.shape:
        raise UnsupportedError("index_fill of a single number")
    dim = call.dim("dim", len(ref.shape))
    to = call.meta.stride
    shape = tuple(index.numel if d == dim else n for d, n in enumerate(ref.shape))
    along = _over_dim(index, dim, len(ref.shape))
    walks = [Indexing(index, along, to[dim], ref.shape[dim], wraps=True)]
    return put(low, call, ref, call.operand("value"), Place(shape, 0, _without(to, dim), walks))


def _embedding_backward(low: Workspace, call: OpCall) -> Value:
    if call.flag("scale_grad_by_freq"):
        raise UnsupportedError("the gradient of an embedding with scale_grad_by_freq")
    grad, index, padding = call.ref("grad_output"), call.ref("indices"), call.integer("padding_idx")
    if padding >= 0:
        kept = Ref(index.memory, index.offset, (*index.shape, 1), (*index.strides, 0), index.dtype)
        masked = op("choose", op("eq", B, C), 0, A)
        grad = _changed(low, call, grad, masked, [(kept, index.dtype), (padding, index.dtype)])
    to = call.meta.stride
    walks = [Indexing(index, (*index.strides, 0), to[0], call.meta.shape[0])]
    strides = (*(0,) * len(index.shape), to[1])
    return put(low, call, 0, grad, Place(grad.shape, 0, strides, walks, True))


ROWS: dict[str, Lower] = {
    "embedding.default": _embedding,
    "embedding_dense_backward.default": _embedding_backward,
    "gather.default": _gather,
    "index.Tensor": _index,
    "index_add.default": _index_add,
    "index_copy.default": _index_copy,
    "index_fill.int_Scalar": _index_fill,
    "index_fill.int_Tensor": _index_fill,
    "index_put.default": _index_put,
    "index_select.default": _index_select,
    "put.default": _put_flat,
    "scatter.src": _scatter(False, "src"),
    "scatter.value": _scatter(False, "value"),
    "scatter_add.default": _scatter(True, "src"),
    "take.default": _take,
}
