"""Loops over rows and a few columns as one loop over a tile of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ember.capture.native.c_writer.accumulation import Accumulation
from ember.capture.native.c_writer.c_text import terms
from ember.capture.native.c_writer.places import Base, Memory
from ember.capture.native.loops.flatten import goes_through
from ember.capture.native.loops.geometry import Geometry

INDICES = ("t", "j")
"""The first row of a tile, and which of its elements."""
_WIDTH = 16
"""Numbers that are the same are written so many at once, also beyond a row's end."""


class Tiles:
    """The arrays of the size of a tile in which what is read by row or by column is spread out, and the loops around."""

    def __init__(self, geometry: Geometry, rows: int, memory: Memory, prefix: int) -> None:
        self.rows = rows
        self.columns = geometry.dims[1]
        self._geometry = geometry
        self._memory = memory
        self._prefix = prefix
        self._names: dict[tuple[Base, int, tuple[int, ...]], str] = {}
        self._filled_once: list[str] = []
        self._filled: list[str] = []

    def element(self, base: Base, offset: int, strides: Sequence[int]) -> str:
        """An element of memory at the index of the loop; ``strides`` are over rows and columns."""
        if goes_through(list(strides), self._geometry):
            return self._memory.element(base, offset, terms(strides, base.indices(INDICES)))
        key = (base, offset, tuple(strides))
        if key not in self._names:
            self._names[key] = f"f{self._prefix}_{len(self._names)}"
            self._spread(self._names[key], base, offset, strides)
        return f"{self._names[key]}[j]"

    def _spread(self, name: str, base: Base, offset: int, strides: Sequence[int]) -> None:
        """Fill an array: once where all rows are the same."""
        over = terms(strides, base.indices(("(t + r)", "i")))
        element = self._memory.element(base, offset, over)
        once, columns = not strides[0], self.columns
        self._filled_once.append(f"{base.kind} {name}[{self.rows * columns + _WIDTH}];")
        head = f"for (int64_t r = 0; r < {self.rows if once else 'n'}; r++)"
        if strides[1]:
            fill = f"for (int64_t i = 0; i < {columns}; i++) {name}[{columns} * r + i] = {element};"
        else:
            wide = -(-columns // _WIDTH) * _WIDTH
            loop = f"for (int64_t i = 0; i < {wide}; i++) {name}[{columns} * r + i] = w;"
            fill = f"{{ const {base.kind} w = {element}; {loop} }}"
        (self._filled_once if once else self._filled).append(f"{head} {fill}")

    def before(self) -> list[str]:
        """What comes before all tiles; the body of the loop must have been written."""
        return self._filled_once

    def loops(
        self, body: Sequence[str], pragma: Sequence[str], ways: Iterable[Accumulation], first: str, last: str
    ) -> list[str]:
        """The loops from a row up to another."""
        rows = self.rows
        ways = list(ways)
        return [
            f"for (int64_t t = {first}; t < {last}; t += {rows}) {{",
            f"const int64_t n = {last} - t < {rows} ? {last} - t : {rows}, m = {self.columns} * n;",
            *self._filled,
            *(line for way in ways for line in way.block_opened()),
            *pragma,
            "for (int64_t j = 0; j < m; j++) {",
            *body,
            "}",
            *(line for way in ways for line in way.block_closed()),
            "}",
        ]
