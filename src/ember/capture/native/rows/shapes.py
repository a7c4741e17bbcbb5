"""Operators that make, move, gather and scatter elements, one row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ember.capture.meta import Meta
from ember.capture.native import table
from ember.capture.native.ir import Access, Assemble, Dims, Take, UnsupportedError, Value
from ember.capture.native.lower import Lower, Lowering, OpCall
from ember.capture.native.refs import Memory, Ref, contiguous


def _full(name: str | None, number: Any = 0) -> Lower:
    def lower(low: Lowering, call: OpCall) -> Value:
        value = call[name] if name is not None else number
        if isinstance(value, Ref):
            return table.copy(low, call, value)
        return table.full(low, call, value)

    return lower


def _copy(low: Lowering, call: OpCall) -> Value:
    return table.copy(low, call, call["self"])


def _copy_from(low: Lowering, call: OpCall) -> Value:
    return table.copy(low, call, call["src"])


def _arange(low: Lowering, call: OpCall) -> Value:
    start, step = call.arguments.get("start", 0) or 0, call.arguments.get("step", 1)
    step = 1 if step is None else step
    return table.index_value(low, call, f"({start!r}) + ({step!r}) * {{d0}}")


def _linspace(low: Lowering, call: OpCall) -> Value:
    start, end, steps = call["start"], call["end"], call["steps"]
    if steps == 1:
        return table.full(low, call, start)
    step = (end - start) / max(steps - 1, 1)
    # From both ends, as torch does, so that the last is exact.
    text = f"(({{d0}}) < {steps // 2} ? {start!r} + {step!r} * ({{d0}}) : {end!r} - {step!r} * ({steps - 1} - ({{d0}})))"
    return table.index_value(low, call, text)


def _eye(low: Lowering, call: OpCall) -> Value:
    return table.index_value(low, call, "({d0}) == ({d1})")


def _triangle(lower_part: bool) -> Lower:
    def lower(low: Lowering, call: OpCall) -> Value:
        rank = len(call.meta.shape)
        k = call["diagonal"]
        sign = "<=" if lower_part else ">="
        text = f"(({{d{rank - 1}}}) - ({{d{rank - 2}}}) {sign} ({k}) ? {{0}} : 0)"
        return table.index_value(low, call, text, [(call["self"], call.meta.dtype)])

    return lower


def _cat(low: Lowering, call: OpCall) -> Value:
    tensors = [ref for ref in call["tensors"] if ref.shape != (0,)]
    dim = table.wrapped(call["dim"], len(call.meta.shape))
    strides = tuple(call.meta.stride)
    parts, at = [], 0
    for ref in tensors:
        parts.append((ref, at * strides[dim], strides))
        at += ref.shape[dim]
    return table.assembled(low, call, None, parts)


def _stack(low: Lowering, call: OpCall) -> Value:
    dim = table.wrapped(call["dim"], len(call.meta.shape))
    strides = tuple(call.meta.stride)
    rest = strides[:dim] + strides[dim + 1 :]
    parts = [(ref, i * strides[dim], rest) for i, ref in enumerate(call["tensors"])]
    return table.assembled(low, call, None, parts)


def _select_backward(low: Lowering, call: OpCall) -> Value:
    dim = table.wrapped(call["dim"], len(call.meta.shape))
    strides = tuple(call.meta.stride)
    index = call["index"]
    index += call.meta.shape[dim] if index < 0 else 0
    rest = strides[:dim] + strides[dim + 1 :]
    return table.assembled(low, call, 0, [(call["grad_output"], index * strides[dim], rest)])


def _slice_bounds(call: OpCall, size: int) -> tuple[int, int]:
    start, step = call["start"] or 0, call["step"]
    start = min(max(start + size if start < 0 else start, 0), size)
    return start, step


def _slice_backward(low: Lowering, call: OpCall) -> Value:
    dim = table.wrapped(call["dim"], len(call.meta.shape))
    start, step = _slice_bounds(call, call.meta.shape[dim])
    strides = list(call.meta.stride)
    offset = start * strides[dim]
    strides[dim] *= step
    return table.assembled(low, call, 0, [(call["grad_output"], offset, tuple(strides))])


def _diagonal_backward(low: Lowering, call: OpCall) -> Value:
    rank = len(call.meta.shape)
    one, two = table.wrapped(call["dim1"], rank), table.wrapped(call["dim2"], rank)
    strides, k = tuple(call.meta.stride), call["offset"]
    offset = k * strides[two] if k >= 0 else -k * strides[one]
    rest = tuple(s for i, s in enumerate(strides) if i not in (one, two))
    return table.assembled(
        low, call, 0, [(call["grad_output"], offset, (*rest, strides[one] + strides[two]))]
    )


def _written_over(low: Lowering, call: OpCall, offset: int, strides: Dims) -> Value:
    base = table.copy(low, call, call["self"])
    result = Assemble(base.dtype, base.dims, base.strides, ordered=True, origin=call.origin)
    result.base = Access(base, 0, base.strides)
    if call["src"].numel:
        result.parts.append(
            table.part(low, call, call["src"], call["src"].shape, offset, strides, call.meta.dtype)
        )
    return result


def _slice_scatter(low: Lowering, call: OpCall) -> Value:
    dim = table.wrapped(call["dim"], len(call.meta.shape))
    start, step = _slice_bounds(call, call.meta.shape[dim])
    strides = list(call.meta.stride)
    offset = start * strides[dim]
    strides[dim] *= step
    return _written_over(low, call, offset, tuple(strides))


def _select_scatter(low: Lowering, call: OpCall) -> Value:
    dim = table.wrapped(call["dim"], len(call.meta.shape))
    strides, index = tuple(call.meta.stride), call["index"]
    index += call.meta.shape[dim] if index < 0 else 0
    return _written_over(low, call, index * strides[dim], strides[:dim] + strides[dim + 1 :])


def _pad(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    pads = list(call["pad"])
    rank = len(ref.shape)
    starts = [0] * rank
    view = [(0, n) for n in ref.shape]
    for k in range(len(pads) // 2):
        dim = rank - 1 - k
        before, after = pads[2 * k], pads[2 * k + 1]
        starts[dim] = max(before, 0)
        view[dim] = (max(-before, 0), ref.shape[dim] - max(-before, 0) - max(-after, 0))
    offset = ref.offset + sum(begin * s for (begin, _), s in zip(view, ref.strides, strict=True))
    inner = Ref(ref.memory, offset, tuple(n for _, n in view), ref.strides, ref.dtype)
    strides = tuple(call.meta.stride)
    to = sum(start * s for start, s in zip(starts, strides, strict=True))
    return table.assembled(low, call, call["value"], [(inner, to, strides)])


def _flip(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    dims = {table.wrapped(d, len(ref.shape)) for d in call["dims"]}
    offset = ref.offset + sum((ref.shape[d] - 1) * ref.strides[d] for d in dims if ref.numel)
    strides = tuple(-s if d in dims else s for d, s in enumerate(ref.strides))
    return table.copy(low, call, Ref(ref.memory, offset, ref.shape, strides, ref.dtype))


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


def _over_result(values: Sequence[int], inner: Dims, at: int, rank: int) -> Dims:
    """Strides over the result: those of the dims that are not indexed, with those of the index put in at ``at``."""
    del rank
    return (*values[:at], *inner, *values[at:])


def _index(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    indices = list(call["indices"])
    shape, at, used, rest = _index_geometry(ref, indices)
    own = _over_result([ref.strides[d] for d in rest], (0,) * len(shape), at, len(ref.shape))
    walks = [
        (
            indices[d],
            _over_result([0] * len(rest), indices[d].over(shape), at, len(ref.shape)),
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
    whole = _over_result([ref.shape[d] for d in rest], shape, at, 0)
    strides = _over_result([to[d] for d in rest], (0,) * len(shape), at, 0)
    walks = [
        (indices[d], _over_result([0] * len(rest), indices[d].over(shape), at, 0), to[d], ref.shape[d])
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
    return low._place(table.pointwise(low, call, expression, [(ref, ref.dtype), *more], meta), meta)


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


def _roll(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    shifts, dims = list(call["shifts"]), [table.wrapped(d, len(ref.shape)) for d in call["dims"]]
    strides = tuple(call.meta.stride)
    if not ref.numel or len(set(dims)) < len(dims):
        raise UnsupportedError("roll of an empty tensor, or twice over one dim")
    if not dims:
        # All elements in a row.
        access = low.dense(ref)
        ref = Ref(Memory(access.value), access.offset, (ref.numel,), (1,), ref.dtype)
        dims, strides = [0], (1,)
    pieces = [(ref, 0)]
    for dim, shift in zip(dims, shifts, strict=True):
        pieces = [half for piece in pieces for half in _rolled(*piece, dim, shift, strides[dim])]
    return table.assembled(low, call, None, [(piece, to, strides) for piece, to in pieces])


def _rolled(ref: Ref, to: int, dim: int, shift: int, stride: int) -> list[tuple[Ref, int]]:
    """The two parts of a tensor that change places, and where they go."""
    size = ref.shape[dim]
    shift %= size

    def piece(begin: int, length: int, at: int) -> tuple[Ref, int]:
        shape = tuple(length if d == dim else n for d, n in enumerate(ref.shape))
        return Ref(
            ref.memory, ref.offset + begin * ref.strides[dim], shape, ref.strides, ref.dtype
        ), to + at * stride

    return [piece(size - shift, shift, 0), piece(0, size - shift, shift)]


ROWS: dict[str, Lower] = {
    "_to_copy.default": _copy,
    "arange.default": _arange,
    "arange.start": _arange,
    "arange.start_step": _arange,
    "cat.default": _cat,
    "clone.default": _copy,
    "constant_pad_nd.default": _pad,
    "copy.default": _copy_from,
    "diagonal_backward.default": _diagonal_backward,
    "embedding.default": _embedding,
    "embedding_dense_backward.default": _embedding_backward,
    "empty.memory_format": _full(None),
    "empty_like.default": _full(None),
    "empty_strided.default": _full(None),
    "eye.default": _eye,
    "eye.m": _eye,
    "fill.Scalar": _full("value"),
    "fill.Tensor": _full("value"),
    "flip.default": _flip,
    "full.default": _full("fill_value"),
    "full_like.default": _full("fill_value"),
    "gather.default": _gather,
    "index.Tensor": _index,
    "index_add.default": _index_add,
    "index_put.default": _index_put,
    "index_select.default": _index_select,
    "lift_fresh_copy.default": _copy,
    "linspace.default": _linspace,
    "new_empty.default": _full(None),
    "new_empty_strided.default": _full(None),
    "new_full.default": _full("fill_value"),
    "new_ones.default": _full(None, 1),
    "new_zeros.default": _full(None),
    "ones.default": _full(None, 1),
    "ones_like.default": _full(None, 1),
    "roll.default": _roll,
    "scalar_tensor.default": _full("s"),
    "scatter.src": _scatter(False, "src"),
    "scatter.value": _scatter(False, "value"),
    "scatter_add.default": _scatter(True, "src"),
    "select_backward.default": _select_backward,
    "select_scatter.default": _select_scatter,
    "slice_backward.default": _slice_backward,
    "slice_scatter.default": _slice_scatter,
    "stack.default": _stack,
    "tril.default": _triangle(True),
    "triu.default": _triangle(False),
    "zero.default": _full(None),
    "zeros.default": _full(None),
    "zeros_like.default": _full(None),
}
