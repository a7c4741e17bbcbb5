"""What the rows of the table of operators are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from ember.capture.native.lowering.refs import Memory, Ref, contiguous
from ember.capture.native.lowering.walk import Lower, Lowering, OpCall
from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Call,
    Constant,
    Dims,
    Part,
    Pointwise,
    Reduce,
    Result,
    UnsupportedError,
    Value,
    sorted_dims,
)

_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
_FUNCTION = re.compile(r"@(\w+)")
SUFFIX = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.bool: "u8",
}


def layout(meta: Any) -> tuple[list[int], Dims, Dims]:
    """Order of dims, sizes and strides of a result."""
    order = sorted_dims(meta.shape, meta.stride)
    return order, tuple(meta.shape[i] for i in order), tuple(meta.stride[i] for i in order)


def elementwise(template: str) -> Lower:
    """A row whose result is C over its arguments, by name: ``{self}`` in the dtype of the result, ``{self:p}`` in the dtype that
    all such arguments promote to, ``{self:bool}`` and ``{self:long}`` in those. ``@exp`` is the function for the dtype."""
    names = list(dict.fromkeys(_SLOT.findall(template)))

    def lower(low: Lowering, call: OpCall) -> Value:
        order, dims, strides = layout(call.meta)
        promoted = _promoted([call[name] for name, kind in names if kind == "p"])
        kinds = {"": call.meta.dtype, "p": promoted, "bool": torch.bool, "long": torch.int64}
        types = tuple(kinds[kind] for _, kind in names)
        inputs = tuple(
            low.read(call[name], call.meta.shape, order, dtype)
            for (name, _), dtype in zip(names, types, strict=True)
        )
        compute = promoted if any(kind == "p" for _, kind in names) else call.meta.dtype
        text = _SLOT.sub(lambda m: f"{{{names.index((m[1], m[2] or ''))}}}", template)
        text = _FUNCTION.sub(lambda m: f"ember_{m[1]}_{suffix(compute)}", text)
        return low.build.pointwise(text, inputs, types, call.meta.dtype, dims, strides, call.origin)

    return lower


def suffix(dtype: torch.dtype) -> str:
    """How the names of C functions for a dtype end."""
    if dtype not in SUFFIX:
        raise UnsupportedError(f"the dtype {dtype}")
    return SUFFIX[dtype]


def _promoted(arguments: Sequence[Any]) -> torch.dtype:
    if not arguments:
        return torch.float32
    return _promoted_of(
        tuple((a.dtype, len(a.shape) > 0) if isinstance(a, Ref) else type(a) for a in arguments)
    )


@lru_cache(1000)
def _promoted_of(kinds: tuple[Any, ...]) -> torch.dtype:
    operands: list[Any] = [
        torch.empty((1,) if kind[1] else (), dtype=kind[0], device="meta")
        if isinstance(kind, tuple)
        else kind(1)
        for kind in kinds
    ]
    if len(operands) == 1:
        operands.append(operands[0])
    result = torch.result_type(operands[0], operands[1])
    for other in operands[2:]:
        result = torch.promote_types(result, torch.result_type(other, other))
    return result


def pointwise(
    low: Lowering,
    call: OpCall,
    expression: str,
    operands: Sequence[tuple[Any, torch.dtype]],
    meta: Any = None,
) -> Value:
    """An expression over ``{0}``, ``{1}`` ... with the layout of the result."""
    meta = meta or call.meta
    order, dims, strides = layout(meta)
    inputs = tuple(low.read(ref, meta.shape, order, dtype) for ref, dtype in operands)
    types = tuple(dtype for _, dtype in operands)
    return low.build.pointwise(expression, inputs, types, meta.dtype, dims, strides, call.origin)


def copy(low: Lowering, call: OpCall, ref: Ref, meta: Any = None) -> Value:
    """The same numbers in fresh memory, perhaps in another dtype."""
    meta = meta or call.meta
    return pointwise(low, call, "{0}", [(ref, meta.dtype)], meta)


def flat(low: Lowering, ref: Ref) -> Ref:
    """All elements of a tensor in a row."""
    access = low.dense(ref)
    return Ref(Memory(access.value), access.offset, (ref.numel,), (1,), ref.dtype)


def full(low: Lowering, call: OpCall, number: Any) -> Value:
    """An array of one number."""
    _, dims, strides = layout(call.meta)
    return low.build.filled(number, call.meta.dtype, dims, strides)


def wrapped(dim: int, rank: int) -> int:
    """A dim counted from the left."""
    return dim + rank if dim < 0 else dim


# For most operators no dims mean all of them.
_EMPTY_IS_NONE = ("all.dims", "any.dims")


def reduced_dims(call: OpCall, rank: int) -> set[int]:
    """The dims that an operator with ``dim`` reduces."""
    dim = call.arguments.get("dim")
    if dim == [] and call.name in _EMPTY_IS_NONE:
        return set()
    if dim is None or dim == []:
        return set(range(rank))
    return {wrapped(d, rank) for d in (dim if isinstance(dim, list) else [dim])} if rank else set()


def reduction(rule: str) -> Lower:
    """A row that reduces dims of ``self``."""
    return lambda low, call: reduce(low, call, rule, call["self"])


def reduce(low: Lowering, call: OpCall, rule: str, ref: Ref) -> Value:
    """Reduce a tensor over the dims that the operator names."""
    rank = len(ref.shape)
    gone = reduced_dims(call, rank)
    if call.meta.dtype is torch.bool:
        rule = {"max": "any", "min": "all"}.get(rule, rule)
    order = sorted_dims(ref.shape, ref.strides)
    domain = tuple(ref.shape[i] for i in order)
    access = Access(ref.memory.value, ref.offset, tuple(ref.strides[i] for i in order))
    keep = bool(call.arguments.get("keepdim"))
    # Dims of the result, in its own order, as dims of the domain.
    remaining = [i for i in range(rank) if keep or i not in gone]
    out_order, dims, strides = layout(call.meta)
    kept = tuple(order.index(remaining[i]) for i in out_order)
    return reduced(low, call, rule, access, domain, kept, dims, strides)


def reduced(
    low: Lowering,
    call: OpCall,
    rule: str,
    access: Access,
    domain: Dims,
    kept: tuple[int, ...],
    dims: Dims,
    strides: Dims,
) -> Value:
    """A reduction, or what it amounts to."""
    dtype = call.meta.dtype
    if len(kept) == len(domain):
        sources = tuple(access.strides[i] for i in kept)
        expression = "({0} != 0)" if rule in ("any", "all") else "{0}"
        return low.build.pointwise(
            expression,
            (Access(access.value, access.offset, sources),),
            (dtype,),
            dtype,
            dims,
            strides,
            call.origin,
        )
    if isinstance(access.value, Constant) and rule == "sum":
        gone = math.prod(domain) // max(math.prod(dims), 1)
        return low.build.filled(access.value.number * gone, dtype, dims, strides)
    return Reduce(
        dtype, dims, strides, origin=call.origin, rule=rule, operand=access, domain=domain, kept=kept
    )


def product_sum(
    low: Lowering,
    call: OpCall,
    left: Access,
    right: Access,
    domain: Dims,
    kept: tuple[int, ...],
    dims: Dims,
    strides: Dims,
) -> Value:
    """``sum(left * right)`` over the dims of the domain that are not kept."""
    dtype = call.meta.dtype
    sizes = [i for i, n in enumerate(domain) if n != 1]
    domain_dims = tuple(domain[i] for i in sizes)
    inputs = tuple(Access(a.value, a.offset, tuple(a.strides[i] for i in sizes)) for a in (left, right))
    product = low.build.pointwise(
        "{0} * {1}", inputs, (dtype, dtype), dtype, domain_dims, contiguous(domain_dims), call.origin
    )
    access = Access(product, 0, product.strides)
    if isinstance(product, Constant):
        access = Access(product, 0, (0,) * len(domain_dims))
    return reduced(low, call, "sum", access, domain_dims, tuple(sizes.index(i) for i in kept), dims, strides)


def assembled(
    low: Lowering, call: OpCall, fill: Any, parts: Sequence[tuple[Ref, int, Dims]], meta: Any = None
) -> Value:
    """Fresh memory filled with a number (None: the parts cover it), and tensors written to ``(offset, strides)`` of it."""
    meta = meta or call.meta
    _, dims, strides = layout(meta)
    base = None
    if fill is not None:
        base = Access(low.build.constant(fill, meta.dtype), 0, (0,) * len(dims))
    result = Assemble(meta.dtype, dims, strides, base=base, origin=call.origin)
    for ref, offset, to in parts:
        if ref.numel:
            result.parts.append(part(low, call, ref, ref.shape, offset, to, meta.dtype))
    return result


def part(
    low: Lowering,
    call: OpCall,
    ref: Any,
    shape: Dims,
    offset: int,
    to: Dims,
    dtype: torch.dtype,
    *,
    indices: tuple[Access, ...] = (),
    index_strides: Dims = (),
    index_sizes: Dims = (),
    accumulate: bool = False,
) -> Part:
    """Write a tensor, broadcast to a shape, to ``offset`` and strides over that shape."""
    order = sorted(
        (i for i, n in enumerate(shape) if n != 1), key=lambda i: (-to[i], -_stride(ref, shape, i))
    )
    dims = tuple(shape[i] for i in order)
    access = low.read(ref, shape, order, dtype)
    if access.value.dtype != dtype and not isinstance(access.value, Constant):
        access = low.build.converted(access, dims, contiguous(dims), dtype, call.origin)
    over = tuple(Access(a.value, a.offset, tuple(a.strides[i] for i in order)) for a in indices)
    strides = tuple(to[i] for i in order)
    return Part(access, dims, offset, strides, over, index_strides, index_sizes, accumulate)


def _stride(ref: Any, shape: Dims, i: int) -> int:
    return ref.over(shape)[i] if isinstance(ref, Ref) else 0


def called(
    low: Lowering,
    call: OpCall,
    name: str,
    refs: Sequence[Ref],
    attributes: tuple[Any, ...] = (),
    *,
    draws: bool = False,
    dense: bool = True,
    metas: Sequence[Any] | None = None,
    scratch: int = 0,
) -> list[Value]:
    """A call that fills its results at once; the inputs are laid out row by row if ``dense``. ``scratch`` is how many float64 it
    takes, as its last argument, to work in."""
    inputs = []
    for ref in refs:
        if dense or isinstance(ref.memory.value, Constant):
            inputs.append(low.dense(ref))
        else:
            inputs.append(Access(ref.memory.value, ref.offset, ref.strides))
    made = Call(name, tuple(inputs), tuple(ref.shape for ref in refs), attributes, draws)
    if draws:
        low.draws.append(made)
    given = metas if metas is not None else (call.metas if isinstance(call.metas, tuple) else (call.metas,))
    results = []
    for meta in given:
        if meta is None:
            raise UnsupportedError(f"an output of {call.name} that is no tensor")
        _, dims, strides = layout(meta)
        results.append(Result(meta.dtype, dims, strides, origin=call.origin, call=made))
    made.outputs = list(results)
    if scratch:
        made.outputs.append(Result(torch.float64, (scratch,), (1,), origin=call.origin, call=made))
        made.attributes = (*attributes, made.outputs[-1])
    return list(results)


def indexed(expression: str, meta: Any) -> str:
    """An expression with ``{d0}``, ``{d1}`` ... for the indices of the result's own dims."""
    order = sorted_dims(meta.shape, meta.stride)
    names = {f"d{i}": f"{{i{order.index(i)}}}" if i in order else "0" for i in range(len(meta.shape))}
    return re.sub(r"\{(d\d+)\}", lambda m: names[m[1]], expression)


def index_value(
    low: Lowering, call: OpCall, expression: str, operands: Sequence[tuple[Any, torch.dtype]] = ()
) -> Value:
    """A value that depends on where an element stands."""
    order, dims, strides = layout(call.meta)
    inputs = tuple(low.read(ref, call.meta.shape, order, dtype) for ref, dtype in operands)
    return Pointwise(
        call.meta.dtype,
        dims,
        strides,
        origin=call.origin,
        expression=indexed(expression, call.meta),
        inputs=inputs,
        types=tuple(dtype for _, dtype in operands),
    )
