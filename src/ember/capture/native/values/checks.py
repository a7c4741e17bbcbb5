"""What can fail for some data: torch raises there, or the recorded run would have gone another way, and so must a program end,
before it has changed anything."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch

from ember.capture.native.values.arrays import Part, Pointwise, Take, Value
from ember.capture.native.values.calls import Call, HeaderCall, SamplerCall, TorchCall
from ember.capture.native.values.expressions import (
    REQUIRED,
    Expression,
    Function,
    Literal,
    Op,
    Operand,
    parts,
)

_DIVISIONS = ("floor_divide", "trunc_divide", "remainder", "fmod")

aten = torch.ops.aten
_SURE = frozenset(
    (
        aten.mm.default,
        aten.bmm.default,
        aten.addmm.default,
        aten.baddbmm.default,
        aten.convolution.default,
        aten.convolution_backward.default,
    )
)
"""Operators of torch that fail for no data, if their shapes are right."""


def never_zero(value: Pointwise) -> Iterator[Expression]:
    """What must not be 0, and may be: integers that an expression divides by, and what it requires to be true."""
    return (part for part in _never_zero(value.expression) if not _is_nonzero(part, value))


def is_requirement(value: Pointwise) -> bool:
    """Whether it is there to be looked at, and read by nobody."""
    return isinstance(value.expression, Op) and value.expression.name == REQUIRED


def can_fail(item: Value | Part | Call) -> bool:
    """Whether an item of a loop, or a call, can find data that torch raises for."""
    if isinstance(item, Take | Part):
        return bool(item.walks)
    if isinstance(item, Pointwise):
        return any(True for _ in never_zero(item))
    if isinstance(item, HeaderCall):
        return item.fallback is not None
    return isinstance(item, TorchCall) and item.operator.op not in _SURE


def draws(call: Call) -> bool:
    """Whether a call draws random numbers."""
    if isinstance(call, TorchCall):
        return torch.Tag.nondeterministic_seeded in call.operator.op.tags
    return isinstance(call, SamplerCall)


@lru_cache(4096)
def _never_zero(whole: Expression) -> tuple[Expression, ...]:
    divisions = (p for p in parts(whole) if isinstance(p, Function) and p.name in _DIVISIONS)
    divisors = (division.args[1] for division in divisions if not _is_floating(division.dtype))
    required = (p.args[0] for p in parts(whole) if isinstance(p, Op) and p.name == REQUIRED)
    return (*divisors, *required)


def _is_floating(dtype: torch.dtype | None) -> bool:
    return dtype is not None and dtype.is_floating_point


def _is_nonzero(divisor: Expression, value: Pointwise) -> bool:
    number = None
    if isinstance(divisor, Literal):
        number = divisor.number
    elif isinstance(divisor, Operand):
        number = value.inputs[divisor.position].number
    return bool(number)
