"""Where the memory of values lies, and how C names it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ember.capture.native.c_writer.c_text import total
from ember.capture.native.loops.structure import Placed, Store
from ember.capture.native.values.arrays import Input, Value
from ember.capture.native.values.dtypes import c_type

OWN = -1
"""Stands, among the numbers of pointers, for the program's own memory."""
CHUNK = -2
"""For the memory of one chunk of a pass over rows."""


@dataclass(frozen=True)
class Base:
    """The first element of a piece of memory: of what the pointer of this number points to, or so many bytes into our own."""

    pointer: int
    place: int
    kind: str
    """The C type of its elements."""
    is_local: bool = False
    """Whether there is a block of rows only, beginning with the row ``b``."""

    def indices(self, over_loops: Sequence[str]) -> Sequence[str]:
        """Where an element stands in it, by the indices of loops, the first of which goes over rows."""
        return [f"({over_loops[0]} - b)", *over_loops[1:]] if self.is_local else over_loops

    @property
    def text(self) -> str:
        """The pointer in C."""
        if self.pointer >= 0:
            return f"x{self.pointer}"
        return f"(({self.kind} *)({'A' if self.pointer == OWN else 'S'} + {self.place}))"


class Places:
    """Where all values of a schedule lie."""

    def __init__(self, placed: Placed) -> None:
        self._schedule = placed.schedule
        self._offsets = placed.offsets

    def base(self, value: Value) -> Base:
        """The memory of a value."""
        if isinstance(value, Input):
            return Base(value.index, 0, c_type(value.dtype))
        if value in self._schedule.direct:
            return Base(self._schedule.direct[value], 0, c_type(value.dtype))
        return Base(OWN, self._offsets[value], c_type(value.dtype), value in self._schedule.local)

    def pointer(self, number: int) -> Base:
        """The memory of an input or output."""
        return Base(number, 0, c_type(self._schedule.pointers[number]))

    def target(self, store: Store) -> Base:
        """The memory that an item writes to."""
        return self.pointer(store.target) if isinstance(store.target, int) else self.base(store.target)

    def is_stored(self, value: Value) -> bool:
        """Whether a value has memory."""
        return value in self._schedule.direct or value in self._schedule.stored

    def where(self, value: Value, offset: int) -> tuple[int, int]:
        """Which pointer an element of a value lies behind, and how many bytes from there."""
        base = self.base(value)
        return base.pointer, base.place + offset * value.dtype.itemsize


class PlacesOfChunk(Places):
    """The same within a chunk of a pass over rows, some values of which lie in memory of its own."""

    def __init__(self, placed: Placed, own: Mapping[Value, int]) -> None:
        super().__init__(placed)
        self._own = own

    def base(self, value: Value) -> Base:
        if value in self._own:
            return Base(CHUNK, self._own[value], c_type(value.dtype), value in self._schedule.local)
        return super().base(value)


class Memory(ABC):
    """How a piece of C names elements of memory."""

    @abstractmethod
    def element(self, base: Base, offset: int, parts: Sequence[str]) -> str:
        """The element at an offset plus terms."""


class Pointers(Memory):
    """By the pointers that a program has. Notes which are used, for the function around to declare them."""

    def __init__(self) -> None:
        self.used: set[int] = set()

    def element(self, base: Base, offset: int, parts: Sequence[str]) -> str:
        return f"{self.start(base)}[{total(offset, parts)}]"

    def start(self, base: Base) -> str:
        """The pointer to the first element."""
        if base.pointer >= 0:
            self.used.add(base.pointer)
        return base.text


class Parameters(Memory):
    """By parameters of a function, each of which points to an offset in a piece of memory."""

    def __init__(self, pointers: Iterable[tuple[Base, int]]) -> None:
        self._numbers = {pointer: number for number, pointer in enumerate(pointers)}

    def element(self, base: Base, offset: int, parts: Sequence[str]) -> str:
        return f"p{self._numbers[base, offset]}_[{total(0, parts)}]"


@dataclass(frozen=True)
class Block:
    """Lines of C, and which pointers they use."""

    lines: list[str]
    pointers: frozenset[int]
