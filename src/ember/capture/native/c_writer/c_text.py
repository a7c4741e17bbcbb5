"""Small pieces of C: numbers, conversions, addresses, comments, expressions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ember.capture.native.values.dtypes import DTYPES, Number, c_type
from ember.capture.native.values.expressions import (
    CHOOSE,
    REQUIRED,
    UNARY,
    Expression,
    Function,
    Index,
    Literal,
    Op,
    Operand,
)

_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "and": "&",
    "or": "|",
    "xor": "^",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "neg": "-",
    "not": "!",
    "invert": "~",
}


def literal(number: Number, dtype: torch.dtype) -> str:
    """A number of a dtype."""
    if dtype is torch.bool:
        return "1" if number else "0"
    if not dtype.is_floating_point:
        if number == -(2**63):
            return "INT64_MIN"
        return f"INT64_C({int(number)})" if dtype is torch.int64 else f"({int(number)})"
    value = float(number)
    if math.isfinite(value):
        return _in_double(value, "f" if dtype is torch.float32 else "")
    return f"(({c_type(dtype)}){_in_double(value)})"


def _in_double(value: float, suffix: str = "") -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}INFINITY"
    text = repr(value) + suffix
    return f"({text})" if math.copysign(1.0, value) < 0 else text


def converted(text: str, source: torch.dtype, to: torch.dtype) -> str:
    """An expression in another dtype, as torch converts it."""
    if source == to:
        return text
    if to is torch.bool:
        return f"(uint8_t)({text} != 0)"
    if source.is_floating_point and not to.is_floating_point:
        return f"ember_to_{DTYPES[to].suffix}_{DTYPES[source].suffix}({text})"
    return f"({c_type(to)})({text})"


def formula(whole: Expression, operands: Sequence[str], indices: Sequence[str]) -> str:
    """An expression over the texts of its operands and of the indices of the dims."""
    if isinstance(whole, Operand):
        return operands[whole.position]
    if isinstance(whole, Index):
        return indices[whole.dim]
    if isinstance(whole, Literal):
        return _number(whole.number)
    if isinstance(whole, Function):
        assert whole.dtype is not None
        args = ", ".join(formula(arg, operands, indices) for arg in whole.args)
        return f"ember_{whole.name}_{DTYPES[whole.dtype].suffix}({args})"
    assert isinstance(whole, Op)
    parts = [_enclosed(arg, formula(arg, operands, indices)) for arg in whole.args]
    if whole.name == CHOOSE:
        return f"{parts[0]} ? {parts[1]} : {parts[2]}"
    if whole.name == REQUIRED:
        return parts[0]
    if whole.name in UNARY:
        return f"{_SIGNS[whole.name]}{parts[0]}"
    return f"{parts[0]} {_SIGNS[whole.name]} {parts[1]}"


def _enclosed(part: Expression, text: str) -> str:
    return f"({text})" if isinstance(part, Op) else text


def _number(number: Number) -> str:
    """A number that is of no dtype: whole ones are integers."""
    if isinstance(number, float):
        return _in_double(number)
    return f"({int(number)})" if number < 0 else str(int(number))


def comment(text: str) -> str:
    """A line that says something to the reader."""
    return f"/* {text.replace('*/', '* /')} */"


def terms(strides: Sequence[int], names: Sequence[str]) -> list[str]:
    """What ``sum(index * stride)`` is a sum of."""
    return [
        name if stride == 1 else f"{stride} * {name}"
        for name, stride in zip(names, strides, strict=True)
        if stride
    ]


def total(offset: int, parts: Sequence[str]) -> str:
    """``offset`` and some terms added up."""
    return " + ".join([str(offset), *parts] if offset or not parts else parts)
