"""What a captured graph means, without aliases and mutation: arrays that are computed once and never change.

A :class:`Value` is the whole content of one piece of memory, seen through dims that are sorted from the widest stride to the
narrowest. An operator that reads a view reads the memory at ``offset + sum(index * stride)``: views are index arithmetic. An
operator that writes in place makes a new value for the memory that it wrote to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import torch

from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.expressions import Expression
from ember.capture.native.values.layout import Dims

AccessKey = tuple[object, ...]
Moved = Callable[["Access", Dims | None], "Access"]
"""Another access for an access over dims; None stands for dims that do not tell what is read."""


@dataclass(eq=False, repr=False)
class Value:
    """An array of ``dtype`` in memory of its own: element ``i`` lies at ``sum(i * strides)``."""

    dtype: torch.dtype
    dims: Dims
    strides: Dims
    origin: str = field(default="", kw_only=True)
    serial: int = field(default_factory=count().__next__, kw_only=True)
    """In which order values came into being."""

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

    def rewire(self, moved: Moved) -> None:
        """Let it read each of its operands through another access."""


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
    def key(self) -> AccessKey:
        """Equal for accesses that read the same."""
        value = self.value
        if isinstance(value, Constant):
            return ("constant", type(value.number), repr(value.number), value.dtype)
        return (id(value), self.offset, self.strides)

    @property
    def number(self) -> Number | None:
        """What it reads, if that is one number everywhere."""
        return self.value.number if isinstance(self.value, Constant) else None


@dataclass(frozen=True, eq=False, repr=False)
class Walk:
    """Where a tensor of indices leads: an index adds ``stride`` times its value, which is below ``size``."""

    index: Access
    stride: int
    size: int
    wraps: bool = False
    """Whether a negative index counts from the end. Otherwise it is out of range."""


@dataclass(eq=False, repr=False, kw_only=True)
class Input(Value):
    """What an input holds before the step. ``strides`` may have gaps and need not be sorted."""

    index: int


@dataclass(eq=False, repr=False, kw_only=True)
class Constant(Value):
    """One number everywhere. It has no memory."""

    number: Number


@dataclass(eq=False, repr=False, kw_only=True)
class Pointwise(Value):
    """Element by element: an expression over the inputs, each converted to its type in ``types`` first."""

    expression: Expression
    inputs: tuple[Access, ...]
    types: tuple[torch.dtype, ...]

    def operands(self) -> tuple[Access, ...]:
        return self.inputs

    def rewire(self, moved: Moved) -> None:
        self.inputs = tuple(moved(access, self.dims) for access in self.inputs)


@dataclass(eq=False, repr=False, kw_only=True)
class Take(Value):
    """Elements of ``source`` at places that tensors of indices give, from ``source.offset`` and its strides on."""

    source: Access
    walks: tuple[Walk, ...]

    def operands(self) -> tuple[Access, ...]:
        return (self.source, *(walk.index for walk in self.walks))

    def rewire(self, moved: Moved) -> None:
        self.source = moved(self.source, None)
        self.walks = _rewired(self.walks, moved, self.dims)


@dataclass(eq=False, repr=False, kw_only=True)
class Reduce(Value):
    """``rule`` over those dims of ``domain`` that are not in ``kept``; the operand is read over ``domain``."""

    rule: str
    operand: Access
    domain: Dims
    kept: tuple[int, ...]

    def operands(self) -> tuple[Access, ...]:
        return (self.operand,)

    def rewire(self, moved: Moved) -> None:
        self.operand = moved(self.operand, self.domain)

    @property
    def is_by_row(self) -> bool:
        """Whether its results lie row by row, the first dim of the domain being the rows."""
        return self.kept[:1] == (0,)

    @property
    def over_domain(self) -> Dims:
        """Strides over the domain: 0 where it is reduced."""
        over = [0] * len(self.domain)
        for stride, dim in zip(self.strides, self.kept, strict=True):
            over[dim] = stride
        return tuple(over)


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Writes ``operand``, read over ``dims``, to ``offset + sum(index * strides)``; with ``walks``, where indices say."""

    operand: Access
    dims: Dims
    offset: int
    strides: Dims
    walks: tuple[Walk, ...] = ()
    accumulate: bool = False

    def operands(self) -> tuple[Access, ...]:
        return (self.operand, *(walk.index for walk in self.walks))

    def rewired(self, moved: Moved) -> Part:
        """The same that reads each of its operands through another access."""
        walks = _rewired(self.walks, moved, self.dims)
        return replace(self, operand=moved(self.operand, self.dims), walks=walks)


@dataclass(eq=False, repr=False, kw_only=True)
class Assemble(Value):
    """``base`` (None: nothing of it is left) with parts of it written over. Parts that may overlap are written in order."""

    base: Access | None
    parts: tuple[Part, ...]
    ordered: bool

    def operands(self) -> tuple[Access, ...]:
        own = () if self.base is None else (self.base,)
        return (*own, *(access for part in self.parts for access in part.operands()))

    def rewire(self, moved: Moved) -> None:
        self.base = None if self.base is None else moved(self.base, self.dims)
        self.parts = tuple(part.rewired(moved) for part in self.parts)


def moved_to(places: Mapping[Value, Value]) -> Moved:
    """Access to what stands in the place of some values, laid out as these are."""

    def moved(access: Access, dims: Dims | None = None) -> Access:
        place = places.get(access.value)
        return access if place is None else Access(place, access.offset, access.strides)

    return moved


def _rewired(walks: tuple[Walk, ...], moved: Moved, dims: Dims) -> tuple[Walk, ...]:
    return tuple(replace(walk, index=moved(walk.index, dims)) for walk in walks)
