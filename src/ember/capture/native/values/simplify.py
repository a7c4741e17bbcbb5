"""Makes values, each only once, and in their simplest form."""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from ember.capture.native.values.arrays import (
    Access,
    Constant,
    Dims,
    Number,
    Pointwise,
    UnsupportedError,
    Value,
)

_COPY = "{0}"


class Builder:
    """Finds equal values again (value numbering), and leaves out what does nothing."""

    def __init__(self) -> None:
        self._known: dict[Any, Value] = {}
        # What keys name by identity must stay alive.
        self._alive: list[Any] = []

    def constant(self, number: Number, dtype: torch.dtype) -> Constant:
        """One number, as it is in a dtype."""
        number = as_dtype(number, dtype)
        key = ("constant", dtype, type(number), repr(number))
        if key not in self._known:
            self._known[key] = Constant(dtype, (), (), number=number)
        return self._known[key]  # type: ignore[return-value]

    def filled(self, number: Number, dtype: torch.dtype, dims: Dims, strides: Dims) -> Constant:
        """An array of one number."""
        return Constant(dtype, dims, strides, number=as_dtype(number, dtype))

    def pointwise(
        self,
        expression: str,
        inputs: tuple[Access, ...],
        types: tuple[torch.dtype, ...],
        dtype: torch.dtype,
        dims: Dims,
        strides: Dims,
        origin: str,
    ) -> Value:
        """An operator element by element."""
        key = (expression, tuple(access.key for access in inputs), types, dtype, dims, strides)
        known = self._known.get(key)
        if known is not None:
            return known
        simple = self._simplified(expression, inputs, types, dtype, dims, strides)
        if simple is None:
            simple = Pointwise(
                dtype, dims, strides, origin=origin, expression=expression, inputs=inputs, types=types
            )
        self._known[key] = simple
        self._alive.append(inputs)
        return simple

    def copied(self, access: Access, dims: Dims, strides: Dims, origin: str) -> Value:
        """What an access reads, as a value with this layout."""
        dtype = access.value.dtype
        return self.pointwise(_COPY, (access,), (dtype,), dtype, dims, strides, origin)

    def converted(self, access: Access, dims: Dims, strides: Dims, dtype: torch.dtype, origin: str) -> Access:
        """An access to the same numbers in another dtype."""
        if isinstance(access.value, Constant):
            return Access(self.constant(access.value.number, dtype), 0, (0,) * len(dims))
        value = self.pointwise(_COPY, (access,), (dtype,), dtype, dims, strides, origin)
        return Access(value, 0, strides)

    def _simplified(
        self,
        expression: str,
        inputs: tuple[Access, ...],
        types: tuple[torch.dtype, ...],
        dtype: torch.dtype,
        dims: Dims,
        strides: Dims,
    ) -> Value | None:
        """One of the inputs, if the result is just that, or a constant."""
        numbers = [access.value.number if isinstance(access.value, Constant) else None for access in inputs]
        if expression == _COPY and numbers[0] is not None:
            return self.filled(numbers[0], dtype, dims, strides)
        if inputs and None not in numbers:
            known = _computed(expression, numbers, types)
            return None if known is None else self.filled(known, dtype, dims, strides)
        kept = _neutral(expression, numbers)
        if kept is None:
            return None
        access = inputs[kept]
        if isinstance(access.value, Constant):
            return self.filled(access.value.number, dtype, dims, strides)
        if access.value.dtype == dtype and access.is_identity(dims) and access.value.strides == strides:
            return access.value
        return None


_ARITHMETIC = re.compile(r"[\d{}\s+\-*/().]+")


def _computed(expression: str, numbers: list[Number | None], types: tuple[torch.dtype, ...]) -> Number | None:
    """The value of an expression of numbers, if it is plain arithmetic in floating point."""
    if not _ARITHMETIC.fullmatch(expression) or not all(
        t is torch.float64 or t is torch.float32 for t in types
    ):
        return None
    try:
        result = eval(expression.format(*(f"({number!r})" for number in numbers)), {}, {"inf": math.inf})
    except (ArithmeticError, NameError):
        return None
    return result if math.isfinite(result) else None


def _neutral(expression: str, numbers: list[Number | None]) -> int | None:
    """Which operand the expression is equal to, if one of the others does nothing."""
    if expression == _COPY:
        return 0
    if expression == "{0} * {1}":
        if numbers[1] == 1:
            return 0
        return 1 if numbers[0] == 1 else None
    if expression == "{0} / {1}":
        return 0 if numbers[1] == 1 else None
    if expression in ("{0} + {2} * {1}", "{0} - {2} * {1}") and numbers[1] == 0:
        return 0
    if expression == "{0} + {2} * {1}" and numbers[0] == 0 and numbers[2] == 1:
        return 1
    return None


def as_dtype(number: Number, dtype: torch.dtype) -> Number:
    """The number that a tensor of this dtype would hold."""
    if dtype is torch.bool:
        return bool(number)
    if dtype.is_floating_point:
        value = float(number)
        if dtype is torch.float32 and math.isfinite(value):
            return float(torch.tensor(value, dtype=torch.float64).to(torch.float32))
        return value
    if isinstance(number, float) and not math.isfinite(number):
        raise UnsupportedError(f"{number} as a number of dtype {dtype}")
    # Too large numbers wrap around.
    info = torch.iinfo(dtype)
    return (int(number) - info.min) % (info.max - info.min + 1) + info.min
