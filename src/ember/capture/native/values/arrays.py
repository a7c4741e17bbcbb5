"""What a captured graph means, without aliases and mutation: arrays that are computed once and never change.

A :class:`Value` is the whole content of one piece of memory, seen through dims that are sorted from the widest stride to the
narrowest. An operator that reads a view reads the memory at ``offset + sum(index * stride)``: views are index arithmetic. An
operator that writes in place makes a new value for the memory that it wrote to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch

Number = bool | int | float
Dims = tuple[int, ...]


class UnsupportedError(Exception):
    """Internal: a graph has something for which no C is written; the text says what."""


@dataclass(eq=False, repr=False)
class Value:
    """An array of ``dtype`` in memory of its own: element ``i`` lies at ``sum(i * strides)``."""

    dtype: torch.dtype
    dims: Dims
    strides: Dims
    origin: str = field(default="", kw_only=True)
    serial: int = field(default_factory=count().__next__, kw_only=True)
    """Operands have smaller ones."""

    @property
    def numel(self) -> int:
        return math.prod(self.dims)

    @property
    def extent(self) -> int:
        """How many elements of memory it spans."""
        if 0 in self.dims:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.dims, self.strides, strict=True))

    def operands(self) -> tuple[Access, ...]:
        """What it is computed from."""
        return ()


@dataclass(frozen=True, eq=False, repr=False)
class Access:
    """A way to read a value: at ``offset + sum(index * strides)``, the index running over the dims of the reader."""

    value: Value
    offset: int
    strides: Dims

    def is_identity(self, dims: Dims) -> bool:
        """Whether a reader with these dims reads, at each index, the element of the same index."""
        return self.offset == 0 and self.value.dims == dims and self.value.strides == self.strides

    @property
    def key(self) -> tuple[Any, ...]:
        value = self.value
        if isinstance(value, Constant):
            return ("constant", type(value.number), repr(value.number), value.dtype)
        return (id(value), self.offset, self.strides)


@dataclass(eq=False, repr=False)
class Input(Value):
    """What an input holds before the step. ``strides`` may have gaps and need not be sorted."""

    index: int = 0


@dataclass(eq=False, repr=False)
class Constant(Value):
    """One number everywhere. It has no memory."""

    number: Number = 0


@dataclass(eq=False, repr=False)
class Pointwise(Value):
    """Element by element: ``expression`` is C over ``{0}``, ``{1}`` ... and the indices ``{i0}``, ``{i1}`` ...; each operand is
    converted to its type in ``types`` first."""

    expression: str = ""
    inputs: tuple[Access, ...] = ()
    types: tuple[torch.dtype, ...] = ()

    def operands(self) -> tuple[Access, ...]:
        return self.inputs


@dataclass(eq=False, repr=False)
class Take(Value):
    """Elements of ``source`` at places that tensors of indices give: ``{address}`` is ``source.offset`` and its strides over the
    dims, and, for each index, its value times a stride."""

    source: Access | None = None
    indices: tuple[Access, ...] = ()
    index_strides: Dims = ()
    index_sizes: Dims = ()

    def operands(self) -> tuple[Access, ...]:
        assert self.source is not None
        return (self.source, *self.indices)


@dataclass(eq=False, repr=False)
class Reduce(Value):
    """``rule`` over those dims of ``domain`` that are not in ``kept``; the operand is read over ``domain``."""

    rule: str = "sum"
    operand: Access | None = None
    domain: Dims = ()
    kept: tuple[int, ...] = ()

    def operands(self) -> tuple[Access, ...]:
        assert self.operand is not None
        return (self.operand,)


@dataclass(eq=False, repr=False)
class Part:
    """Writes ``operand``, read over ``dims``, to ``offset + sum(index * strides)``; with ``indices``, where they say."""

    operand: Access
    dims: Dims
    offset: int
    strides: Dims
    indices: tuple[Access, ...] = ()
    index_strides: Dims = ()
    index_sizes: Dims = ()
    accumulate: bool = False

    def operands(self) -> tuple[Access, ...]:
        return (self.operand, *self.indices)


@dataclass(eq=False, repr=False)
class Assemble(Value):
    """``base`` (None: nothing of it is left) with parts of it written over. Parts that may overlap are written in order."""

    base: Access | None = None
    parts: list[Part] = field(default_factory=list)
    ordered: bool = False

    def operands(self) -> tuple[Access, ...]:
        own = () if self.base is None else (self.base,)
        return (*own, *(access for part in self.parts for access in part.operands()))


@dataclass(eq=False, repr=False)
class Call:
    """A call that fills whole values at once: of a sampler, a scan or torch. Calls keep their order where ``draws``."""

    name: str
    inputs: tuple[Access, ...]
    input_dims: tuple[Dims, ...]
    attributes: tuple[Any, ...] = ()
    draws: bool = False
    outputs: list[Result] = field(default_factory=list)
    shapes: list[tuple[Dims, Dims] | None] = field(default_factory=list)
    """Sizes and strides of the results as torch sees them, for a call of torch; None for one that it leaves out."""


@dataclass(eq=False, repr=False)
class Result(Value):
    """One output of a call."""

    call: Call | None = None

    def operands(self) -> tuple[Access, ...]:
        assert self.call is not None
        return self.call.inputs


@dataclass(frozen=True)
class Slot:
    """Stands for an input, by number, in the arguments of a call of torch."""

    position: int


def sorted_dims(shape: Dims, strides: Dims) -> list[int]:
    """The dims of more than one element, widest stride first."""
    return sorted((i for i, size in enumerate(shape) if size != 1), key=lambda i: -strides[i])


def contiguous(shape: Dims) -> Dims:
    """Strides of a dense row-major array."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)
