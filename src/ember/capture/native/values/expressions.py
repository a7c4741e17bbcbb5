"""What is computed at one element, as a value: operators and functions over operands, indices and numbers.

>>> a, b = Operand(0), Operand(1)
>>> a + 2 * b
Op(name='add', args=(Operand(position=0), Op(name='mul', args=(Literal(number=2), Operand(position=1)))))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from ember.capture.native.values.dtypes import Number

BINARY = ("add", "sub", "mul", "div", "and", "or", "xor", "eq", "ne", "lt", "le", "gt", "ge")
UNARY = ("neg", "not", "invert")
CHOOSE = "choose"
"""The second argument where the first is true, else the third."""
REQUIRED = "required"
"""Its argument, which must be true: the program fails where it is not."""
ARITY = {**dict.fromkeys(BINARY, 2), **dict.fromkeys(UNARY, 1), CHOOSE: 3, REQUIRED: 1}


class Expression:
    """A value; equal expressions compute the same."""

    __slots__ = ()

    def __add__(self, other: Expression | Number) -> Expression:
        return Op("add", (self, expression(other)))

    def __radd__(self, other: Number) -> Expression:
        return Op("add", (Literal(other), self))

    def __sub__(self, other: Expression | Number) -> Expression:
        return Op("sub", (self, expression(other)))

    def __rsub__(self, other: Number) -> Expression:
        return Op("sub", (Literal(other), self))

    def __mul__(self, other: Expression | Number) -> Expression:
        return Op("mul", (self, expression(other)))

    def __rmul__(self, other: Number) -> Expression:
        return Op("mul", (Literal(other), self))

    def __truediv__(self, other: Expression | Number) -> Expression:
        return Op("div", (self, expression(other)))

    def __rtruediv__(self, other: Number) -> Expression:
        return Op("div", (Literal(other), self))

    def __neg__(self) -> Expression:
        return Op("neg", (self,))

    def __lt__(self, other: Expression | Number) -> Expression:
        return Op("lt", (self, expression(other)))

    def __le__(self, other: Expression | Number) -> Expression:
        return Op("le", (self, expression(other)))

    def __gt__(self, other: Expression | Number) -> Expression:
        return Op("gt", (self, expression(other)))

    def __ge__(self, other: Expression | Number) -> Expression:
        return Op("ge", (self, expression(other)))


@dataclass(frozen=True, slots=True)
class Operand(Expression):
    """What the reader's input of this number holds at the element."""

    position: int


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """Where the element stands in a dim."""

    dim: int


@dataclass(frozen=True, slots=True, eq=False)
class Literal(Expression):
    """A number: whole ones are integers in C, others of double precision."""

    number: Number

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and True are different numbers here, and so are the two zeros.
        return isinstance(other, Literal) and repr(other.number) == repr(self.number)

    def __hash__(self) -> int:
        return hash(repr(self.number))


@dataclass(frozen=True)
class Op(Expression):
    """An operator of C, by its name in ``ARITY``."""

    name: str
    args: tuple[Expression, ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Values are found again by their expressions, thousands of times by the same one.
        return hash((self.name, self.args))


@dataclass(frozen=True)
class Function(Expression):
    """A function of the C headers, for a dtype; None stands for the dtype that is computed in, in a row's notation."""

    name: str
    dtype: torch.dtype | None
    args: tuple[Expression, ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.dtype, self.args))


COPY = Operand(0)


def expression(value: Expression | Number) -> Expression:
    """A number as an expression; an expression as it is."""
    return value if isinstance(value, Expression) else Literal(value)


def op(name: str, *args: Expression | Number) -> Expression:
    """An operator for which Python has no sign to spare, such as ``op("eq", a, b)``."""
    return Op(name, tuple(map(expression, args)))


def mapped(whole: Expression, replace: Callable[[Expression], Expression]) -> Expression:
    """The expression with what is at its ends replaced, and then what these make up."""
    if isinstance(whole, Op):
        return replace(Op(whole.name, tuple(mapped(arg, replace) for arg in whole.args)))
    if isinstance(whole, Function):
        return replace(Function(whole.name, whole.dtype, tuple(mapped(arg, replace) for arg in whole.args)))
    return replace(whole)


def parts(whole: Expression) -> Iterator[Expression]:
    """The expression and all that it is made of, from left to right."""
    yield whole
    if isinstance(whole, Op | Function):
        for arg in whole.args:
            yield from parts(arg)


def uses_index(whole: Expression) -> bool:
    """Whether it depends on where an element stands."""
    return any(isinstance(part, Index) for part in parts(whole))


def arithmetic(whole: Expression, numbers: list[Number]) -> Number | None:
    """The value for these operands if it is plain arithmetic, else None.

    Raises:
        ArithmeticError: for a division by zero.
    """
    if isinstance(whole, Literal):
        return whole.number
    if isinstance(whole, Operand):
        return numbers[whole.position]
    if not isinstance(whole, Op) or whole.name not in ("add", "sub", "mul", "div", "neg"):
        return None
    args = [arithmetic(arg, numbers) for arg in whole.args]
    first = args[0]
    second = args[-1]
    if first is None or second is None:
        return None
    if whole.name == "add":
        return first + second
    if whole.name == "sub":
        return first - second
    if whole.name == "mul":
        return first * second
    return -first if whole.name == "neg" else first / second
