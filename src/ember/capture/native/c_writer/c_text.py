"""Small pieces of C: numbers, conversions, addresses, comments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ember.capture.native.values.arrays import Number

C_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "int64_t",
    torch.int32: "int32_t",
    torch.bool: "uint8_t",
    torch.uint8: "uint8_t",
}


def literal(number: Number, dtype: torch.dtype) -> str:
    """A number as C."""
    if dtype is torch.bool:
        return "1" if number else "0"
    if not dtype.is_floating_point:
        if number == -(2**63):
            return "INT64_MIN"
        return f"INT64_C({int(number)})" if dtype is torch.int64 else f"({int(number)})"
    value = float(number)
    suffix = "f" if dtype is torch.float32 else ""
    if math.isnan(value):
        return f"(({C_TYPES[dtype]})NAN)"
    if math.isinf(value):
        return f"(({C_TYPES[dtype]}){'-' if value < 0 else ''}INFINITY)"
    text = repr(value) if "e" in repr(value) or "." in repr(value) else f"{value!r}.0"
    text += suffix
    return f"({text})" if value < 0 else text


def converted(text: str, source: torch.dtype, to: torch.dtype) -> str:
    """An expression in another dtype, as torch converts it."""
    if source == to:
        return text
    if to is torch.bool:
        return f"(uint8_t)({text} != 0)"
    return f"({C_TYPES[to]})({text})"


def comment(text: str) -> str:
    """A line that says something to the reader."""
    return f"/* {text.replace('*/', '* /')} */"


def address(offset: int, strides: Sequence[int], names: Sequence[str]) -> str:
    """``offset + sum(index * stride)`` as C."""
    terms = [
        name if stride == 1 else f"{stride} * {name}"
        for name, stride in zip(names, strides, strict=True)
        if stride
    ]
    if offset or not terms:
        terms.insert(0, str(offset))
    return " + ".join(terms)


def cast(number: Number, dtype: torch.dtype) -> Number:
    """A number of the kind that a dtype holds."""
    if dtype is torch.bool:
        return bool(number)
    return float(number) if dtype.is_floating_point else int(number)
