"""Nests that are the same but for the memory they work on become one C function.

A model that goes through two hundred steps of a time series has each of its loops two hundred times. A compiler that sees
each of them takes two hundred times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ember.capture.native.c_writer.nest import written_nest
from ember.capture.native.c_writer.places import Base, Parameters, Places, Pointers
from ember.capture.native.loops.structure import Item, Nest, Store
from ember.capture.native.values.arrays import Access, Pointwise, Reduce, Take, Value, Walk
from ember.capture.native.values.dtypes import DTYPES

FEWEST_TIMES = 3
_SIZES = {described.c: dtype.itemsize for dtype, described in DTYPES.items()}

Shape = tuple[object, ...]


@dataclass(frozen=True)
class Form:
    """A nest but for its memory: equal forms compute the same with other pointers."""

    shape: Shape
    kinds: tuple[str, ...]
    """The types that its pointers point to."""


@dataclass(frozen=True)
class Outlined:
    """A nest as a call of a function that several nests share."""

    name: str
    pointers: list[tuple[Base, int]]

    def row(self) -> list[tuple[int, int]]:
        """Where its pointers begin: behind which pointer of the program, and how many bytes from there."""
        return [(base.pointer, base.place + offset * _SIZES[base.kind]) for base, offset in self.pointers]

    def call(self, memory: Pointers) -> str:
        """The statement."""
        starts = (memory.start(base) + (f" + {offset}" if offset else "") for base, offset in self.pointers)
        return f"{self.name}({', '.join([*starts, 'failed'])});"


def outlined(nests: Sequence[Nest], places: Places, prefix: str) -> tuple[list[str], dict[Nest, Outlined]]:
    """Functions for the nests that occur again and again, and the calls of them that take the nests' places."""
    forms = {nest: _Reader(nest, places).read() for nest in nests}
    times = Counter(form for form, _ in forms.values())
    names: dict[Form, str] = {}
    functions: list[str] = []
    calls: dict[Nest, Outlined] = {}
    for nest, (form, pointers) in forms.items():
        if times[form] < FEWEST_TIMES or not pointers:
            continue
        if form not in names:
            names[form] = f"{prefix}_loop_{len(names)}"
            lines = written_nest(nest, places, Parameters(pointers), comments=False)
            functions.append(_function(names[form], form, lines))
        calls[nest] = Outlined(names[form], pointers)
    return functions, calls


def _function(name: str, form: Form, lines: Sequence[str]) -> str:
    parameters = [f"{kind} *restrict const p{k}_" for k, kind in enumerate(form.kinds)]
    head = f"EMBER_PIECE void {name}({', '.join([*parameters, 'int32_t *const failed'])})"
    return "\n".join([f"{head} {{", *lines, "}", ""])


class _Reader:
    """Goes over a nest, and numbers the places in memory that it begins to read or write at."""

    def __init__(self, nest: Nest, places: Places) -> None:
        self.nest = nest
        self.places = places
        self.numbers: dict[tuple[Base, int], int] = {}
        self.local: dict[Value, int] = {}

    def read(self) -> tuple[Form, list[tuple[Base, int]]]:
        shape: list[object] = [self.nest.dims, self.nest.tile, self.nest.turned]
        for item in self.nest.items:
            shape.append(self._item(item))
            if isinstance(item, Pointwise | Take):
                self.local[item] = len(self.local)
        for value in self.local:
            stored = self.places.is_stored(value)
            shape.append(self._place(self.places.base(value), 0) if stored else None)
        pointers = list(self.numbers)
        return Form(tuple(shape), tuple(base.kind for base, _ in pointers)), pointers

    def _place(self, base: Base, offset: int) -> int:
        return self.numbers.setdefault((base, offset), len(self.numbers))

    def _access(self, access: Access) -> Shape:
        value = access.value
        if access.number is not None:
            return access.key
        if value in self.local and access.is_identity(self.nest.dims):
            return (self.local[value],)
        return (self._place(self.places.base(value), access.offset), value.dtype, access.strides)

    def _walks(self, walks: Sequence[Walk]) -> Shape:
        return tuple((self._access(walk.index), walk.stride, walk.size, walk.wraps) for walk in walks)

    def _item(self, item: Item) -> Shape:
        if isinstance(item, Store):
            part = item.part
            target = self._place(self.places.target(item), part.offset)
            kept = None if isinstance(item.target, int) else item.target.dtype
            own = (target, kept, part.operand.value.dtype, part.strides, part.accumulate)
            return (*own, self._access(part.operand), self._walks(part.walks))
        return self._value(item)

    def _value(self, item: Value) -> Shape:
        own = (type(item), item.dtype, item.strides)
        if isinstance(item, Pointwise):
            return (*own, item.expression, item.types, *(self._access(a) for a in item.inputs))
        if isinstance(item, Take):
            return (*own, self._access(item.source), self._walks(item.walks))
        assert isinstance(item, Reduce)
        place = self._place(self.places.base(item), 0)
        return (*own, item.rule, item.kept, place, self._access(item.operand))
