"""Operators that make arrays and move their elements about, one row each."""

from __future__ import annotations

from ember.capture.native.lowering.assembly import Place, assembled, part
from ember.capture.native.lowering.elementwise import A, chosen, copy, flat, full, index_value
from ember.capture.native.lowering.refs import Ref
from ember.capture.native.lowering.workspace import Lower, OpCall, Workspace, wrapped
from ember.capture.native.values.arrays import Access, Assemble, Value
from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.expressions import Index, op
from ember.capture.native.values.layout import Dims
from ember.capture.native.values.unsupported import UnsupportedError


def _full(name: str | None, number: Number = 0) -> Lower:
    def lower(low: Workspace, call: OpCall) -> Value:
        value = call[name] if name is not None else number
        if isinstance(value, Ref):
            return copy(low, call, value)
        return full(low, call, value)

    return lower


def _copy(low: Workspace, call: OpCall) -> Value:
    return copy(low, call, call.ref("self"))


def _copy_from(low: Workspace, call: OpCall) -> Value:
    return copy(low, call, call.ref("src"))


def _arange(low: Workspace, call: OpCall) -> Value:
    start, step = call.arguments.get("start", 0) or 0, call.arguments.get("step", 1)
    return index_value(low, call, start + (1 if step is None else step) * Index(0))


def _linspace(low: Workspace, call: OpCall) -> Value:
    start, end, steps = call["start"], call["end"], call["steps"]
    if steps == 1:
        return full(low, call, start)
    step = (end - start) / max(steps - 1, 1)
    i = Index(0)
    # From both ends, as torch does, so that the last is exact.
    return index_value(
        low, call, op("choose", i < steps // 2, start + step * i, end - step * (steps - 1 - i))
    )


def _eye(low: Workspace, call: OpCall) -> Value:
    return index_value(low, call, op("eq", Index(0), Index(1)))


def _triangle(lower_part: bool) -> Lower:
    def lower(low: Workspace, call: OpCall) -> Value:
        rank = len(call.meta.shape)
        distance = Index(rank - 1) - Index(rank - 2)
        kept = distance <= call.integer("diagonal") if lower_part else distance >= call.integer("diagonal")
        dtype = call.meta.dtype
        return index_value(low, call, chosen(dtype, kept, A, 0), [(call.ref("self"), dtype)])

    return lower


def _cat(low: Workspace, call: OpCall) -> Value:
    tensors = [ref for ref in call.refs("tensors") if ref.shape != (0,)]
    dim = call.dim("dim", len(call.meta.shape))
    strides = call.meta.stride
    parts, at = [], 0
    for ref in tensors:
        parts.append((ref, at * strides[dim], strides))
        at += ref.shape[dim]
    return assembled(low, call, None, parts)


def _stack(low: Workspace, call: OpCall) -> Value:
    dim = call.dim("dim", len(call.meta.shape))
    strides = call.meta.stride
    rest = strides[:dim] + strides[dim + 1 :]
    parts = [(ref, i * strides[dim], rest) for i, ref in enumerate(call.refs("tensors"))]
    return assembled(low, call, None, parts)


def _select_backward(low: Workspace, call: OpCall) -> Value:
    dim = call.dim("dim", len(call.meta.shape))
    strides = call.meta.stride
    index = call.integer("index")
    index += call.meta.shape[dim] if index < 0 else 0
    rest = strides[:dim] + strides[dim + 1 :]
    return assembled(low, call, 0, [(call.ref("grad_output"), index * strides[dim], rest)])


def _slice_bounds(call: OpCall, size: int) -> tuple[int, int]:
    start, step = call["start"] or 0, call["step"]
    start = min(max(start + size if start < 0 else start, 0), size)
    return start, step


def _slice_backward(low: Workspace, call: OpCall) -> Value:
    dim = call.dim("dim", len(call.meta.shape))
    start, step = _slice_bounds(call, call.meta.shape[dim])
    strides = list(call.meta.stride)
    offset = start * strides[dim]
    strides[dim] *= step
    return assembled(low, call, 0, [(call.ref("grad_output"), offset, tuple(strides))])


def _diagonal_backward(low: Workspace, call: OpCall) -> Value:
    rank = len(call.meta.shape)
    one, two = call.dim("dim1", rank), call.dim("dim2", rank)
    strides, k = call.meta.stride, call.integer("offset")
    offset = k * strides[two] if k >= 0 else -k * strides[one]
    rest = tuple(s for i, s in enumerate(strides) if i not in (one, two))
    return assembled(low, call, 0, [(call.ref("grad_output"), offset, (*rest, strides[one] + strides[two]))])


def _written_over(low: Workspace, call: OpCall, offset: int, strides: Dims) -> Value:
    base = copy(low, call, call.ref("self"))
    source = call.ref("src")
    parts = (part(low, call, source, Place(source.shape, offset, strides)),) if source.numel else ()
    return Assemble(
        base.dtype,
        base.dims,
        base.strides,
        base=Access(base, 0, base.strides),
        parts=parts,
        ordered=True,
        origin=call.origin,
    )


def _slice_scatter(low: Workspace, call: OpCall) -> Value:
    dim = call.dim("dim", len(call.meta.shape))
    start, step = _slice_bounds(call, call.meta.shape[dim])
    strides = list(call.meta.stride)
    offset = start * strides[dim]
    strides[dim] *= step
    return _written_over(low, call, offset, tuple(strides))


def _select_scatter(low: Workspace, call: OpCall) -> Value:
    dim = call.dim("dim", len(call.meta.shape))
    strides, index = call.meta.stride, call.integer("index")
    index += call.meta.shape[dim] if index < 0 else 0
    return _written_over(low, call, index * strides[dim], strides[:dim] + strides[dim + 1 :])


def _pad(low: Workspace, call: OpCall) -> Value:
    ref = call.ref("self")
    pads = call.integers("pad")
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
    strides = call.meta.stride
    to = sum(start * s for start, s in zip(starts, strides, strict=True))
    return assembled(low, call, call["value"], [(inner, to, strides)])


def _flip(low: Workspace, call: OpCall) -> Value:
    ref = call.ref("self")
    dims = {wrapped(d, len(ref.shape)) for d in call.integers("dims")}
    offset = ref.offset + sum((ref.shape[d] - 1) * ref.strides[d] for d in dims if ref.numel)
    strides = tuple(-s if d in dims else s for d, s in enumerate(ref.strides))
    return copy(low, call, Ref(ref.memory, offset, ref.shape, strides, ref.dtype))


def _roll(low: Workspace, call: OpCall) -> Value:
    ref = call.ref("self")
    shifts, dims = call.integers("shifts"), [wrapped(d, len(ref.shape)) for d in call.integers("dims")]
    strides = call.meta.stride
    if not ref.numel or len(set(dims)) < len(dims):
        raise UnsupportedError("roll of an empty tensor, or twice over one dim")
    if not dims:
        # All elements in a row.
        ref = flat(low, ref)
        dims, strides = [0], (1,)
    pieces = [(ref, 0)]
    for dim, shift in zip(dims, shifts, strict=True):
        pieces = [half for piece in pieces for half in _rolled(*piece, dim, shift, strides[dim])]
    return assembled(low, call, None, [(piece, to, strides) for piece, to in pieces])


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
