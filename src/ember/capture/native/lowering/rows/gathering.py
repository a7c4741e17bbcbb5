"""Operators that gather and scatter elements by tensors of indices, one row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ember.capture.meta import Meta
from ember.capture.native.lowering import table
from ember.capture.native.lowering.refs import Ref, contiguous
from ember.capture.native.lowering.walk import Lower, Lowering, OpCall
from ember.capture.native.values.arrays import Access, Assemble, Dims, Take, UnsupportedError, Value


def _taken(
    low: Lowering,
    call: OpCall,
    source: Ref,
    source_strides: Dims,
    indices: Sequence[tuple[Ref, Dims, int, int]],
) -> Value:
    """Elements of a source; each index with its strides over the result, and stride and size of the dim that it walks."""
    order, dims, strides = table.layout(call.meta)
    result = Take(call.meta.dtype, dims, strides, origin=call.origin)
    result.source = Access(source.memory.value, source.offset, tuple(source_strides[i] for i in order))
    result.indices = tuple(
        Access(ref.memory.value, ref.offset, tuple(over[i] for i in order)) for ref, over, _, _ in indices
    )
    result.index_strides = tuple(stride for _, _, stride, _ in indices)
    result.index_sizes = tuple(size for _, _, _, size in indices)
    for ref, _, _, _ in indices:
        if ref.dtype.is_floating_point or ref.dtype == torch.bool:
            raise UnsupportedError(f"indices of dtype {ref.dtype}")
    return result


def _index_geometry(ref: Ref, indices: Sequence[Ref | None]) -> tuple[Dims, int, list[int], list[int]]:
    """Shape of all indices together, where it stands in the result, and which dims are indexed and which are not."""
    used = [d for d, index in enumerate(indices) if index is not None]
    rest = [d for d in range(len(ref.shape)) if d not in used]
    shape = tuple(torch.broadcast_shapes(*(indices[d].shape for d in used)))  # type: ignore[union-attr, no-untyped-call]
    adjacent = used == list(range(used[0], used[-1] + 1))
    return shape, (used[0] if adjacent else 0), used, rest


def _over_result(values: Sequence[int], inner: Dims, at: int) -> Dims:
    """Strides over the result: those of the dims that are not indexed, with those of the index put in at ``at``."""
    return (*values[:at], *inner, *values[at:])


def _index(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    indices = list(call["indices"])
    shape, at, used, rest = _index_geometry(ref, indices)
    own = _over_result([ref.strides[d] for d in rest], (0,) * len(shape), at)
    walks = [
        (
            indices[d],
            _over_result([0] * len(rest), indices[d].over(shape), at),
            ref.strides[d],
            ref.shape[d],
        )
        for d in used
    ]
    return _taken(low, call, ref, own, walks)


def _index_select(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    dim = table.wrapped(call["dim"], len(ref.shape))
    over = tuple(
        call["index"].strides[0] if d == dim and call["index"].shape else 0 for d in range(len(ref.shape))
    )
    own = tuple(0 if d == dim else s for d, s in enumerate(ref.strides))
    return _taken(low, call, ref, own, [(call["index"], over, ref.strides[dim], ref.shape[dim])])


def _embedding(low: Lowering, call: OpCall) -> Value:
    ref, index = call["weight"], call["indices"]
    own = (*(0,) * len(index.shape), ref.strides[1])
    return _taken(low, call, ref, own, [(index, (*index.strides, 0), ref.strides[0], ref.shape[0])])


def _gather(low: Lowering, call: OpCall) -> Value:
    ref, index = call["self"], call["index"]
    if not ref.shape:
        return table.copy(low, call, ref)
    dim = table.wrapped(call["dim"], len(ref.shape))
    own = tuple(0 if d == dim else s for d, s in enumerate(ref.strides))
    return _taken(low, call, ref, own, [(index, index.strides, ref.strides[dim], ref.shape[dim])])


def _take(low: Lowering, call: OpCall) -> Value:
    source, index = table.flat(low, call["self"]), call["index"]
    return _taken(low, call, source, (0,) * len(index.shape), [(index, index.strides, 1, source.numel)])


def _put_flat(low: Lowering, call: OpCall) -> Value:
    ref, index = call["self"], call["index"]
    if any(
        n != 1 and s != d
        for n, s, d in zip(call.meta.shape, call.meta.stride, contiguous(ref.shape), strict=True)
    ):
        raise UnsupportedError("put into memory that does not lie row by row")
    values = call["source"]
    if values.shape != index.shape:
        raise UnsupportedError("put of values of another shape than the indices")
    walks = [(index, index.strides, 1, ref.numel)]
    return _put(low, call, ref, values, index.shape, (0,) * len(index.shape), walks, bool(call["accumulate"]))


def _put(
    low: Lowering,
    call: OpCall,
    base: Any,
    values: Any,
    shape: Dims,
    strides: Dims,
    indices: Sequence[tuple[Ref, Dims, int, int]],
    accumulate: bool,
) -> Value:
    """``base`` (a tensor or a number) with values put where indices say."""
    _, dims, own = table.layout(call.meta)
    result = Assemble(call.meta.dtype, dims, own, ordered=True, origin=call.origin)
    if isinstance(base, Ref):
        copied = table.copy(low, call, base)
        result.base = Access(copied, 0, copied.strides)
    else:
        result.base = Access(low.build.constant(base, call.meta.dtype), 0, (0,) * len(dims))
    if math.prod(shape):
        result.parts.append(
            table.part(
                low,
                call,
                values,
                shape,
                0,
                strides,
                call.meta.dtype,
                indices=tuple(Access(ref.memory.value, ref.offset, over) for ref, over, _, _ in indices),
                index_strides=tuple(stride for _, _, stride, _ in indices),
                index_sizes=tuple(size for _, _, _, size in indices),
                accumulate=accumulate,
            )
        )
    return result


def _index_put(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    indices = list(call["indices"])
    if any(index is not None and index.dtype == torch.bool for index in indices):
        return _masked_put(low, call)
    shape, at, used, rest = _index_geometry(ref, indices)
    to = tuple(call.meta.stride)
    whole = _over_result([ref.shape[d] for d in rest], shape, at)
    strides = _over_result([to[d] for d in rest], (0,) * len(shape), at)
    walks = [
        (indices[d], _over_result([0] * len(rest), indices[d].over(shape), at), to[d], ref.shape[d])
        for d in used
    ]
    return _put(low, call, ref, call["values"], whole, strides, walks, bool(call["accumulate"]))


def _masked_put(low: Lowering, call: OpCall) -> Value:
    ref, indices, values = call["self"], list(call["indices"]), call["values"]
    if len(indices) != 1 or indices[0].shape != ref.shape or values.numel != 1 or call["accumulate"]:
        raise UnsupportedError("index_put with a mask and several values")
    dtype = call.meta.dtype
    scalar = Ref(values.memory, values.offset, (), (), values.dtype)
    operands = [(indices[0], torch.bool), (scalar, dtype), (ref, dtype)]
    return table.pointwise(low, call, "({0} ? {1} : {2})", operands)


def _changed(low: Lowering, call: OpCall, ref: Ref, expression: str, *more: tuple[Any, torch.dtype]) -> Ref:
    """An expression over the elements of a tensor, ``{0}``, and other operands."""
    meta = Meta(ref.dtype, ref.shape, contiguous(ref.shape), 0, -1, "cpu")
    return low.placed(table.pointwise(low, call, expression, [(ref, ref.dtype), *more], meta), meta)


def _scatter(accumulate: bool, source: str) -> Lower:
    def lower(low: Lowering, call: OpCall) -> Value:
        ref, index = call["self"], call["index"]
        if not ref.shape:
            raise UnsupportedError("a scatter to a single number")
        dim = table.wrapped(call["dim"], len(ref.shape))
        to = tuple(call.meta.stride)
        strides = tuple(0 if d == dim else s for d, s in enumerate(to))
        values = call[source]
        if isinstance(values, Ref):
            values = Ref(values.memory, values.offset, index.shape, values.strides, values.dtype)
        walks = [(index, index.strides, to[dim], ref.shape[dim])]
        return _put(low, call, ref, values, index.shape, strides, walks, accumulate)

    return lower


def _index_add(low: Lowering, call: OpCall) -> Value:
    ref, index, source = call["self"], call["index"], call["source"]
    if not ref.shape:
        raise UnsupportedError("index_add to a single number")
    if call["alpha"] != 1:
        source = _changed(low, call, source, "{0} * {1}", (call["alpha"], source.dtype))
    dim = table.wrapped(call["dim"], len(ref.shape))
    to = tuple(call.meta.stride)
    strides = tuple(0 if d == dim else s for d, s in enumerate(to))
    over = tuple(index.strides[0] if d == dim and index.shape else 0 for d in range(len(ref.shape)))
    return _put(low, call, ref, source, source.shape, strides, [(index, over, to[dim], ref.shape[dim])], True)


def _embedding_backward(low: Lowering, call: OpCall) -> Value:
    if call["scale_grad_by_freq"]:
        raise UnsupportedError("the gradient of an embedding with scale_grad_by_freq")
    grad, index = call["grad_output"], call["indices"]
    if call["padding_idx"] >= 0:
        kept = Ref(index.memory, index.offset, (*index.shape, 1), (*index.strides, 0), index.dtype)
        grad = _changed(
            low, call, grad, "({1} == {2} ? 0 : {0})", (kept, index.dtype), (call["padding_idx"], index.dtype)
        )
    to = tuple(call.meta.stride)
    strides = (*(0,) * len(index.shape), to[1])
    walks = [(index, (*index.strides, 0), to[0], call.meta.shape[0])]
    return _put(low, call, 0, grad, grad.shape, strides, walks, True)


ROWS: dict[str, Lower] = {
    "embedding.default": _embedding,
    "embedding_dense_backward.default": _embedding_backward,
    "gather.default": _gather,
    "index.Tensor": _index,
    "index_add.default": _index_add,
    "index_put.default": _index_put,
    "index_select.default": _index_select,
    "put.default": _put_flat,
    "scatter.src": _scatter(False, "src"),
    "scatter.value": _scatter(False, "value"),
    "scatter_add.default": _scatter(True, "src"),
    "take.default": _take,
}
