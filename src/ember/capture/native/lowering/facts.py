"""What is known of a matrix beside its numbers: by which operators it was made, as far as rows for linear algebra can use it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ember.capture.native.lowering.refs import Ref, turned
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.layout import Dims


@dataclass(frozen=True, eq=False)
class Triangle:
    """It is zero above its diagonal, or below it."""

    lower: bool


@dataclass(frozen=True, eq=False)
class Solution:
    """It is ``x`` with ``matrix @ x = right``, of the upper triangle of the matrix or of the lower one."""

    matrix: Ref
    right: Ref
    upper: bool


@dataclass(frozen=True, eq=False)
class Product:
    """``factor * left @ right``."""

    left: Ref
    right: Ref
    factor: Number = 1


@dataclass(frozen=True, eq=False)
class Diagonal:
    """A matrix that is zero beside its diagonal, which has these numbers times a factor."""

    numbers: Ref
    factor: Number = 1


@dataclass(frozen=True, eq=False)
class Sum:
    """On its diagonal and below it is the sum of these."""

    terms: tuple[Product | Diagonal, ...]


Fact = Triangle | Solution | Product | Sum


@dataclass(frozen=True, eq=False)
class _Noted:
    shape: Dims
    strides: Dims
    fact: Fact


class Facts:
    """What is known of the matrices of a program."""

    def __init__(self) -> None:
        self._noted: dict[Value, _Noted] = {}

    def note(self, value: Value, shape: Dims, strides: Dims, fact: Fact) -> None:
        """Of a value that is one matrix, seen with this shape and these strides. What is known already stays."""
        if len(shape) >= 2 and set(shape[:-2]) <= {1} and min(shape[-2:]) > 1:
            self._noted.setdefault(value, _Noted(shape[-2:], strides[-2:], fact))

    def of(self, ref: Ref) -> Fact | None:
        """Of a tensor that is one matrix as it was noted."""
        noted, one = self._noted.get(ref.memory.value), matrix(ref)
        if noted is None or one is None or one.offset:
            return None
        return noted.fact if (one.shape, one.strides) == (noted.shape, noted.strides) else None

    def is_triangle(self, ref: Ref, lower: bool) -> bool:
        """Whether a matrix is known to be zero above its diagonal (``lower``), or below it."""
        as_it_is, other = self.of(ref), self.of(turned(ref))
        if isinstance(as_it_is, Triangle):
            return as_it_is.lower is lower
        return isinstance(other, Triangle) and other.lower is not lower

    def terms(self, ref: Ref) -> tuple[Product | Diagonal, ...]:
        """A sum that a matrix is on its diagonal and below; empty where none is known."""
        fact = self.of(ref)
        if isinstance(fact, Product):
            return (fact,)
        return fact.terms if isinstance(fact, Sum) else ()


def matrix(ref: Ref) -> Ref | None:
    """A tensor that is one matrix without the dims before the last two."""
    if len(ref.shape) < 2 or set(ref.shape[:-2]) - {1}:
        return None
    return replace(ref, shape=ref.shape[-2:], strides=ref.strides[-2:])


def scaled(terms: tuple[Product | Diagonal, ...], factor: Number) -> tuple[Product | Diagonal, ...]:
    """Terms times a number."""
    return tuple(replace(term, factor=term.factor * factor) for term in terms)
