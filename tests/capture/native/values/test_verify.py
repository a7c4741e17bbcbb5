"""The verifier finds values that mean nothing, and lets those pass that mean something."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Input,
    Part,
    Pointwise,
    Reduce,
    Take,
    Value,
    Walk,
)
from ember.capture.native.values.expressions import Expression, Function, Index, Op, Operand
from ember.capture.native.values.plan import Output, Plan
from ember.capture.native.values.verify import InvariantError, verify_plan

FLOAT, LONG = torch.float32, torch.int64
A, B = Operand(0), Operand(1)


def source(dtype: torch.dtype = FLOAT) -> Input:
    return Input(dtype, (4, 3), (3, 1), index=0)


def pointwise(whole: Expression, *inputs: Access, dims=(4, 3), strides=(3, 1)) -> Pointwise:
    types = tuple(access.value.dtype for access in inputs)
    return Pointwise(FLOAT, dims, strides, expression=whole, inputs=inputs, types=types)


def plan(value: Value) -> Plan:
    output = Output(Access(value, 0, value.strides), value.dims, value.dtype)
    return Plan((), (), (output,), ())


def reduced(kept: tuple[int, ...]) -> Reduce:
    x = source()
    return Reduce(FLOAT, (4,), (1,), rule="sum", operand=Access(x, 0, (3, 1)), domain=(4, 3), kept=kept)


def taken(offset: int, size: int, index: torch.dtype = LONG) -> Take:
    x, at = source(), Input(index, (5,), (1,), index=1)
    walk = Walk(Access(at, 0, (1, 0)), 3, size)
    return Take(FLOAT, (5, 3), (3, 1), source=Access(x, offset, (0, 1)), walks=(walk,))


def assembled(part: Part) -> Assemble:
    x = source()
    return Assemble(FLOAT, (4, 3), (3, 1), base=Access(x, 0, (3, 1)), parts=(part,), ordered=True)


def column() -> Access:
    return Access(Input(FLOAT, (4,), (1,), index=2), 0, (1,))


GOOD = {
    "a sum": lambda: pointwise(A + B, Access(source(), 0, (3, 1)), Access(source(), 2, (0, 0))),
    "read from the end": lambda: pointwise(A * 2, Access(source(), 11, (-3, -1))),
    "an index": lambda: pointwise(Index(0) + Index(1)),
    "sums of rows": lambda: reduced((0,)),
    "a gather": lambda: taken(0, 4),
    "a column": lambda: assembled(Part(column(), (4,), 2, (3,))),
}
BAD = {
    "outside": lambda: pointwise(A + 1, Access(source(), 1, (3, 1))),
    "before the start": lambda: pointwise(A + 1, Access(source(), 10, (-3, -1))),
    "too few strides": lambda: pointwise(A + 1, Access(source(), 0, (3,))),
    "no such operand": lambda: pointwise(A + B, Access(source(), 0, (3, 1))),
    "no such dim": lambda: pointwise(Index(2) + 0),
    "no such operator": lambda: pointwise(Op("mul", (A,)), Access(source(), 0, (3, 1))),
    "no dtype": lambda: pointwise(Function("exp", None, (A,)), Access(source(), 0, (3, 1))),
    "elements at one place": lambda: pointwise(A + 1, Access(source(), 0, (3, 1)), strides=(1, 1)),
    "other dims kept": lambda: reduced((1,)),
    "an index too far": lambda: taken(0, 5),
    "a gather that begins too late": lambda: taken(1, 4),
    "an index that is no integer": lambda: taken(0, 4, FLOAT),
    "a part outside": lambda: assembled(Part(column(), (4,), 3, (3,))),
    "a part of another dtype": lambda: assembled(Part(Access(source(LONG), 0, (3,)), (4,), 0, (3,))),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_means_something_passes(name):
    verify_plan(plan(GOOD[name]()))


@pytest.mark.parametrize("name", BAD)
def test_what_means_nothing_is_found(name):
    with pytest.raises(InvariantError):
        verify_plan(plan(BAD[name]()))


def test_outputs_and_finals_agree_with_their_values():
    value = GOOD["a sum"]()
    good = plan(value)
    with pytest.raises(InvariantError, match="another dtype"):
        verify_plan(replace(good, outputs=(replace(good.outputs[0], dtype=torch.float64),)))
    old = Input(torch.float64, (4, 3), (3, 1), index=0)
    with pytest.raises(InvariantError, match="another dtype"):
        verify_plan(replace(good, inputs=(old,), finals=((old, Access(value, 0, (3, 1))),)))
