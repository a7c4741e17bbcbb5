"""Makes values, each only once, and in their simplest form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ember.capture.native.values.arrays import Access, Constant, Pointwise, Value
from ember.capture.native.values.dtypes import Number, as_dtype
from ember.capture.native.values.expressions import COPY, Expression, Op, Operand, arithmetic
from ember.capture.native.values.layout import Dims

_FLOATS = (torch.float32, torch.float64)


class Builder:
    """Finds equal values again (value numbering), and leaves out what does nothing."""

    def __init__(self) -> None:
        self._known: dict[object, Value] = {}
        self._constants: dict[object, Constant] = {}
        # What keys name by identity must stay alive.
        self._alive: list[tuple[Access, ...]] = []

    def constant(self, number: Number, dtype: torch.dtype) -> Constant:
        """One number, as it is in a dtype."""
        number = as_dtype(number, dtype)
        key = (dtype, type(number), repr(number))
        if key not in self._constants:
            self._constants[key] = Constant(dtype, (), (), number=number)
        return self._constants[key]

    def filled(self, number: Number, dtype: torch.dtype, dims: Dims, strides: Dims) -> Constant:
        """An array of one number."""
        return Constant(dtype, dims, strides, number=as_dtype(number, dtype))

    def pointwise(
        self,
        expression: Expression,
        operands: Sequence[tuple[Access, torch.dtype]],
        *,
        dtype: torch.dtype,
        dims: Dims,
        strides: Dims,
        origin: str,
    ) -> Value:
        """An expression of operands, each converted to a dtype first, element by element."""
        inputs = tuple(access for access, _ in operands)
        types = tuple(converted for _, converted in operands)
        key = (expression, tuple(access.key for access in inputs), types, dtype, dims, strides)
        known = self._known.get(key)
        if known is not None:
            return known
        made = Pointwise(
            dtype, dims, strides, origin=origin, expression=expression, inputs=inputs, types=types
        )
        simple = self._simplified(made) or made
        self._known[key] = simple
        self._alive.append(inputs)
        return simple

    def copied(self, access: Access, dims: Dims, strides: Dims, origin: str) -> Value:
        """What an access reads, as a value with this layout."""
        dtype = access.value.dtype
        return self.pointwise(COPY, [(access, dtype)], dtype=dtype, dims=dims, strides=strides, origin=origin)

    def converted(
        self, access: Access, dims: Dims, strides: Dims, *, dtype: torch.dtype, origin: str
    ) -> Access:
        """An access to the same numbers in another dtype."""
        if access.number is not None:
            return Access(self.constant(access.number, dtype), 0, (0,) * len(dims))
        value = self.pointwise(
            COPY, [(access, dtype)], dtype=dtype, dims=dims, strides=strides, origin=origin
        )
        return Access(value, 0, strides)

    def _simplified(self, made: Pointwise) -> Value | None:
        """One of the inputs, if the result is just that, or a constant."""
        numbers = [access.number for access in made.inputs]
        known = [number for number in numbers if number is not None]
        if made.expression == COPY and known:
            return self._filled_like(known[0], made)
        if made.inputs and len(known) == len(numbers):
            computed = _computed(made, known)
            return None if computed is None else self._filled_like(computed, made)
        kept = _neutral(made.expression, numbers)
        if kept is None:
            return None
        access = made.inputs[kept]
        if access.number is not None:
            return self._filled_like(access.number, made)
        same = access.value.dtype == made.dtype and access.is_identity(made.dims)
        return access.value if same and access.value.strides == made.strides else None

    def _filled_like(self, number: Number, made: Pointwise) -> Constant:
        return self.filled(number, made.dtype, made.dims, made.strides)


def _computed(made: Pointwise, numbers: list[Number]) -> Number | None:
    """The value of an expression of numbers, if it is plain arithmetic in floating point."""
    if not all(dtype in _FLOATS for dtype in made.types):
        return None
    try:
        result = arithmetic(made.expression, numbers)
    except ArithmeticError:
        return None
    return result if result is not None and math.isfinite(result) else None


def _neutral(expression: Expression, numbers: Sequence[Number | None]) -> int | None:
    """Which operand the expression is equal to, if one of the others does nothing."""
    if expression == COPY:
        return 0
    if not isinstance(expression, Op) or expression.args != (Operand(0), Operand(1)):
        return None
    if expression.name in ("mul", "div") and numbers[1] == 1:
        return 0
    return 1 if expression.name == "mul" and numbers[0] == 1 else None
