"""What must hold of every plan, whatever pass it comes from. Tests look between passes; programs of users do not pay for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Constant,
    Input,
    Part,
    Pointwise,
    Reduce,
    Take,
    Value,
    Walk,
)
from ember.capture.native.values.calls import (
    Call,
    HeaderCall,
    LibraryCall,
    Result,
    SamplerCall,
    TorchCall,
    slots,
)
from ember.capture.native.values.dtypes import DTYPES
from ember.capture.native.values.expressions import ARITY, Expression, Function, Index, Op, Operand, parts
from ember.capture.native.values.layout import Dims, contiguous, reach
from ember.capture.native.values.order import reachable
from ember.capture.native.values.plan import Plan

_RULES = ("sum", "prod", "any", "all", "max", "min")


class InvariantError(AssertionError):
    """Internal: a pass has made something that means nothing."""


def require(holds: bool, what: str) -> None:
    """Raise InvariantError if something does not hold."""
    if not holds:
        raise InvariantError(what)


def verify_plan(plan: Plan) -> None:
    """Operands stand before their users, sizes and dtypes agree, and nothing is read or written outside of its memory."""
    for value in reachable(plan.roots(), plan.draws):
        verify_value(value)
    for old, access in plan.finals:
        require(old in plan.inputs, "an input that is none is written")
        require(access.value.dtype == old.dtype, "an input gets content of another dtype")
        _inside(access, old.dims)
    for output in plan.outputs:
        require(output.access.value.dtype == output.dtype, "an output is of another dtype than its value")
        _inside(output.access, output.shape)
    require(len(set(plan.draws)) == len(plan.draws), "a call draws twice")


def verify_value(value: Value) -> None:
    """One value with the ways in which it reads its operands."""
    require(value.dtype in DTYPES, f"a value of dtype {value.dtype}")
    require(len(value.dims) == len(value.strides), "as many strides as dims")
    if not isinstance(value, Input | Constant):
        _apart(value.dims, value.strides)
    if isinstance(value, Pointwise):
        _pointwise(value)
    elif isinstance(value, Take):
        _integers(value.walks)
        _inside(value.source, value.dims, value.walks)
        for walk in value.walks:
            _inside(walk.index, value.dims)
    elif isinstance(value, Reduce):
        require(value.rule in _RULES, f"a reduction by {value.rule}")
        require(value.dims == tuple(value.domain[k] for k in value.kept), "a reduction keeps its dims")
        require(len(set(value.kept)) == len(value.kept), "a reduction keeps a dim once")
        _inside(value.operand, value.domain)
    elif isinstance(value, Assemble):
        _assemble(value)
    elif isinstance(value, Result):
        require(value in value.call.outputs, "a call knows its results")
        _call(value.call)


def _pointwise(value: Pointwise) -> None:
    require(len(value.types) == len(value.inputs), "each operand has a type")
    for access in value.inputs:
        _inside(access, value.dims)
    _expression(value.expression, len(value.inputs), len(value.dims))


def _expression(whole: Expression, operands: int, dims: int) -> None:
    for part in parts(whole):
        if isinstance(part, Operand):
            require(part.position < operands, "an expression has an operand that is not there")
        elif isinstance(part, Index):
            require(part.dim < dims, "an expression has the index of a dim that is not there")
        elif isinstance(part, Op):
            require(ARITY.get(part.name) == len(part.args), f"the operator {part.name} of {len(part.args)}")
        elif isinstance(part, Function):
            known = part.dtype in DTYPES and DTYPES[part.dtype].has_functions
            require(known, f"the function {part.name} for {part.dtype}")


def _assemble(value: Assemble) -> None:
    if value.base is not None:
        require(value.base.value.dtype == value.dtype, "a base is of the dtype of the whole")
        _inside(value.base, value.dims)
    for part in value.parts:
        constant = isinstance(part.operand.value, Constant)
        require(constant or part.operand.value.dtype == value.dtype, "a part is of the dtype of the whole")
        _part(part, value.extent)


def _part(part: Part, extent: int) -> None:
    require(len(part.dims) == len(part.strides), "as many strides as dims")
    _integers(part.walks)
    _inside(part.operand, part.dims)
    for walk in part.walks:
        _inside(walk.index, part.dims)
    _within(part.offset, part.dims, part.strides, part.walks, extent)


def _call(call: Call) -> None:
    for access, dims in zip(call.inputs, call.input_dims, strict=True):
        _inside(access, dims)
    operator = call.operator if isinstance(call, TorchCall) else None
    if isinstance(call, HeaderCall):
        operator = call.fallback
    if isinstance(call, LibraryCall):
        _library_call(call)
    elif isinstance(call, SamplerCall):
        for access, dims in zip(call.inputs, call.input_dims, strict=True):
            dense = zip(dims, access.strides, contiguous(dims), strict=True)
            require(all(n == 1 or s == c for n, s, c in dense), "a sampler reads row by row")
        require(call.scratch is None or call.scratch in call.outputs, "a sampler works in its own memory")
        require(all(DTYPES[dtype].sampled for dtype in call.dtypes), "a sampler for a dtype that has none")
    if operator is not None:
        found = [
            slot for argument in [*operator.arguments, *operator.named.values()] for slot in slots(argument)
        ]
        require(
            all(slot.position < len(call.inputs) for slot in found), "a slot for an input that is not there"
        )


def _library_call(call: LibraryCall) -> None:
    depth = len(call.batch)
    require(
        all(dims[:depth] == call.batch for dims in call.input_dims), "all inputs have the dims of a batch"
    )
    require(len(call.layouts) == len(call.outputs), "each output has its strides")
    for result, layout in zip(call.outputs, call.layouts, strict=True):
        require(len(layout) >= depth, "all outputs have the dims of a batch")
        require(set(result.strides) <= set(layout), "an output has the strides of its value")


def _integers(walks: Sequence[Walk]) -> None:
    for walk in walks:
        dtype = walk.index.value.dtype
        require(not dtype.is_floating_point and dtype is not torch.bool, f"an index of dtype {dtype}")


def _apart(dims: Dims, strides: Dims) -> None:
    """No two elements lie at the same place."""
    if 0 in dims:
        return
    covered = 0
    for size, stride in sorted(zip(dims, strides, strict=True), key=lambda pair: pair[1]):
        require(size <= 1 or stride > covered, "two elements of a value lie at the same place")
        covered += (size - 1) * stride


def _inside(access: Access, dims: Dims, walks: Sequence[Walk] = ()) -> None:
    """Nothing is read outside of a value."""
    require(len(access.strides) == len(dims), "an access has as many strides as its reader has dims")
    if not isinstance(access.value, Constant):
        _within(access.offset, dims, access.strides, walks, access.value.extent)


def _within(offset: int, dims: Dims, strides: Dims, walks: Sequence[Walk], extent: int) -> None:
    sizes = (*dims, *(walk.size for walk in walks))
    walked = reach(offset, sizes, (*strides, *(walk.stride for walk in walks)))
    if walked is not None:
        low, high = walked
        require(low >= 0 and high < extent, f"places {low} to {high} of a value that has {extent}")
