"""Rows that compute element by element.

A row's notation is an expression over its operator's arguments by name: ``arg("self") + arg("alpha") * arg("other")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import torch

from ember.capture.native.lowering.refs import Memory, Ref, layout
from ember.capture.native.lowering.workspace import Lower, OpCall, Workspace
from ember.capture.native.values.arrays import Pointwise, Value
from ember.capture.native.values.dtypes import Number, check_functions
from ember.capture.native.values.expressions import (
    COPY,
    Expression,
    Function,
    Index,
    Literal,
    Operand,
    expression,
    mapped,
    op,
    parts,
)
from ember.capture.recording.meta import Meta

A, B, C, D = map(Operand, range(4))
"""The operands of an expression, in order."""
Operands = Sequence[tuple[Ref | Number, torch.dtype]]


class Kind(Enum):
    """In which dtype an argument is read."""

    RESULT = "of the result"
    PROMOTED = "to which all such arguments promote"
    BOOL = "bool"
    LONG = "int64"


@dataclass(frozen=True, slots=True)
class Argument(Expression):
    """An argument of the operator, in a row's notation."""

    name: str
    kind: Kind


def arg(name: str, kind: Kind = Kind.RESULT) -> Expression:
    """An argument of the operator."""
    return Argument(name, kind)


def fn(name: str, *args: Expression | Number) -> Expression:
    """A function of the C headers, for the dtype that is computed in."""
    return Function(name, None, tuple(map(expression, args)))


def function(name: str, dtype: torch.dtype, *args: Expression | Number) -> Expression:
    """A function of the C headers for a dtype.

    Raises:
        UnsupportedError: if there are none for it.
    """
    check_functions(dtype)
    return Function(name, dtype, tuple(map(expression, args)))


def chosen(dtype: torch.dtype, condition: Expression, yes: Expression, no: Expression | Number) -> Expression:
    """One of two values. In floating point both are computed, which lets a loop become vector code."""
    if dtype in (torch.float32, torch.float64):
        return function("pick", dtype, condition, yes, no)
    return op("choose", condition, yes, no)


def elementwise(template: Expression) -> Lower:
    """A row with this notation."""
    arguments = list(dict.fromkeys(part for part in parts(template) if isinstance(part, Argument)))
    promotes = any(argument.kind is Kind.PROMOTED for argument in arguments)

    @lru_cache
    def filled(compute: torch.dtype) -> Expression:
        def placed(part: Expression) -> Expression:
            if isinstance(part, Argument):
                return Operand(arguments.index(part))
            return function(part.name, compute, *part.args) if isinstance(part, Function) else part

        return mapped(template, placed)

    def lower(low: Workspace, call: OpCall) -> Value:
        dtype = call.meta.dtype
        promoted = (
            promotion([call[a.name] for a in arguments if a.kind is Kind.PROMOTED]) if promotes else dtype
        )
        kinds = {
            Kind.RESULT: dtype,
            Kind.PROMOTED: promoted,
            Kind.BOOL: torch.bool,
            Kind.LONG: torch.int64,
        }
        operands = [(call[argument.name], kinds[argument.kind]) for argument in arguments]
        return pointwise(low, call, filled(promoted), operands)

    return lower


def promotion(arguments: Sequence[Ref | Number]) -> torch.dtype:
    """The dtype to which tensors and numbers promote."""
    return _promotion(
        tuple((a.dtype, len(a.shape) > 0) if isinstance(a, Ref) else type(a) for a in arguments)
    )


@lru_cache(1000)
def _promotion(kinds: tuple[tuple[torch.dtype, bool] | type[Number], ...]) -> torch.dtype:
    operands: list[torch.Tensor | Number] = [
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
    low: Workspace, call: OpCall, whole: Expression, operands: Operands, meta: Meta | None = None
) -> Value:
    """An expression over ``A``, ``B`` ... with the layout of the result."""
    meta = meta or call.meta
    to = layout(meta.shape, meta.stride)
    read = [(low.read(operand, meta.shape, to.order, dtype), dtype) for operand, dtype in operands]
    return low.build.pointwise(
        whole, read, dtype=meta.dtype, dims=to.dims, strides=to.strides, origin=call.origin
    )


def index_value(low: Workspace, call: OpCall, whole: Expression, operands: Operands = ()) -> Value:
    """A value that depends on where an element stands: the indices in the expression are those of the result's own dims."""
    meta = call.meta
    to = layout(meta.shape, meta.stride)

    def placed(part: Expression) -> Expression:
        if not isinstance(part, Index):
            return part
        return Index(to.order.index(part.dim)) if part.dim in to.order else Literal(0)

    return Pointwise(
        meta.dtype,
        to.dims,
        to.strides,
        origin=call.origin,
        expression=mapped(whole, placed),
        inputs=tuple(low.read(operand, meta.shape, to.order, dtype) for operand, dtype in operands),
        types=tuple(dtype for _, dtype in operands),
    )


def copy(low: Workspace, call: OpCall, ref: Ref, meta: Meta | None = None) -> Value:
    """The same numbers in fresh memory, perhaps in another dtype."""
    meta = meta or call.meta
    return pointwise(low, call, COPY, [(ref, meta.dtype)], meta)


def full(low: Workspace, call: OpCall, number: Number) -> Value:
    """An array of one number."""
    to = layout(call.meta.shape, call.meta.stride)
    return low.build.filled(number, call.meta.dtype, to.dims, to.strides)


def flat(low: Workspace, ref: Ref) -> Ref:
    """All elements of a tensor in a row."""
    access = low.dense(ref)
    return Ref(Memory(access.value), access.offset, (ref.numel,), (1,), ref.dtype)
