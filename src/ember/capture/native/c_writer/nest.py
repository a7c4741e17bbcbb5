"""One nest of loops as C."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ember.capture.native.c_writer.accumulation import BLOCK, Accumulation, accumulations
from ember.capture.native.c_writer.c_text import comment, converted, formula, literal, terms
from ember.capture.native.c_writer.dots import Dots, dots_of
from ember.capture.native.c_writer.places import Base, Memory, Places, Pointers
from ember.capture.native.c_writer.tiles import INDICES, Tiles
from ember.capture.native.loops.geometry import LONG_TILE, TILE, merged, walks_across
from ember.capture.native.loops.structure import Nest, Store, Sweep
from ember.capture.native.values.arrays import Access, Pointwise, Reduce, Take, Value, Walk
from ember.capture.native.values.checks import is_requirement, never_zero
from ember.capture.native.values.dtypes import as_dtype, c_type
from ember.capture.native.values.expressions import COPY

AHEAD = 32
"""So many rows before it is read a row is asked for."""
LARGE = 2**21
"""Bytes that caches near a core do not hold."""


def written_nest(nest: Nest, places: Places, memory: Memory, *, comments: bool = True) -> list[str]:
    """The lines of a nest."""
    return _NestWriter(nest, places, memory, comments).lines()


def written_sweep(
    sweep: Sweep, places: Places, memory: Memory, bounds: tuple[str, str] | None = None
) -> list[str]:
    """The lines of nests that go over blocks of rows together: from the row ``b`` up to the row ``e``; ``bounds`` are those of
    all rows, or of a chunk."""
    writers: list[_NestWriter] = []
    taken = 0
    for nest in sweep.nests:
        writers.append(_NestWriter(nest, places, memory, True, taken))
        taken += len(nest.items)
    blocks = [line for writer in writers for line in ("{", *writer.block(), "}")]
    first, last = bounds or ("0", str(sweep.rows))
    block = sweep.block
    lines = [
        *(line for writer in writers for line in writer.opened()),
        f"for (int64_t b = {first}; b < {last}; b += {block}) {{",
        f"const int64_t e = b + {block} < {last} ? b + {block} : {last};",
        *blocks,
        "}",
        *(line for writer in writers for line in writer.closed()),
    ]
    return _checked(lines) if any(writer.checks for writer in writers) else lines


def _checked(lines: Sequence[str]) -> list[str]:
    return ["int bad = 0;", *lines, "if (__builtin_expect(bad, 0)) {", "*failed = 1;", "return;", "}"]


class _NestWriter:
    def __init__(
        self, nest: Nest, places: Places, memory: Memory, comments: bool, taken: int | None = None
    ) -> None:
        self.nest = nest
        self.places = places
        self.memory = memory
        self.comments = comments
        self._in_sweep = taken is not None
        self.geometry = merged(nest, rows_apart=self._in_sweep)
        self.dims = self.geometry.dims
        self._tiles = Tiles(self.geometry, nest.tile, memory, taken or 0) if nest.tile else None
        self.indices = list(INDICES) if nest.tile else [f"i{k}" for k in range(len(self.dims))]
        self.ways = accumulations(nest, self.geometry, self.indices, places, memory, taken or 0)
        self.tiled = not self._in_sweep and walks_across(nest, self.geometry)
        self._dots = dots_of(nest, self.geometry, places) if isinstance(memory, Pointers) else None
        self._names: dict[Value, str] = {}
        self._walked = 0
        self._around_inner: list[str] = []
        """What comes before the innermost loop; known when the body has been written."""
        self.checks = False
        """Whether it finds data that torch raises for; known when it has been written."""

    def lines(self) -> list[str]:
        if self._dots is not None:
            return self._called(self._dots, "0", str(self.dims[0]))
        loops = self._whole(self._body())
        around = [
            *(line for way in self.ways.values() for line in way.before()),
            *loops,
            *(line for way in self.ways.values() for line in way.after()),
        ]
        return _checked(around) if self.checks else around

    def _whole(self, body: list[str]) -> list[str]:
        """All loops."""
        if self._tiles is None:
            return self._loop(0, body, self._pragma())
        loops = self._tiles.loops(body, self._pragma(), self.ways.values(), "0", str(self.dims[0]))
        return [
            *self._tiles.before(),
            *(line for way in self._around_rows() for line in way.opened()),
            *loops,
            *(line for way in self._around_rows() for line in way.closed()),
        ]

    def _called(self, dots: Dots, first: str, rows: str) -> list[str]:
        assert isinstance(self.memory, Pointers)
        origin = [comment(dots.result.origin)] if self.comments and dots.result.origin else []
        return [*origin, dots.call(self.places, self.memory, first, rows)]

    def opened(self) -> list[str]:
        """What comes before the first block of rows."""
        if self._dots is not None:
            return []
        before = (line for way in self.ways.values() for line in way.before())
        spread = [] if self._tiles is None else self._tiles.before()
        return [*before, *spread, *(line for way in self._around_rows() for line in way.opened())]

    def block(self) -> list[str]:
        """What is done for a block of rows."""
        if self._dots is not None:
            return self._called(self._dots, "b", "e - b")
        body = self._body()
        if self._tiles is not None:
            return self._tiles.loops(body, self._pragma(), self.ways.values(), "b", "e")
        return self._one_loop(0, self._loop(1, body, self._pragma()), self._pragma())

    def closed(self) -> list[str]:
        """What comes after the last block."""
        if self._dots is not None:
            return []
        after = (line for way in self.ways.values() for line in way.after())
        return [*(line for way in self._around_rows() for line in way.closed()), *after]

    def _around_rows(self) -> list[Accumulation]:
        return [way for way in self.ways.values() if way.depth == 0]

    # ---- what is done at one index

    def _body(self) -> list[str]:
        lines: list[str] = []
        stores: list[str] = []
        origin = ""
        for item in self.nest.items:
            if isinstance(item, Store):
                stores += self._stored_part(item)
                continue
            if self.comments and item.origin not in ("", origin):
                origin = item.origin
                lines.append(comment(origin))
            if isinstance(item, Pointwise):
                steps, text = self._computed(item)
                lines += steps
                if not is_requirement(item):
                    lines.append(self._named(item, text))
            elif isinstance(item, Take):
                steps, text = self._taken(item)
                lines += [*steps, self._named(item, text)]
            elif isinstance(item, Reduce):
                lines.append(self.ways[item].combined(self._read(item.operand, item.dtype)))
        for value, name in self._names.items():
            if self.places.is_stored(value):
                stores.append(f"{self._element(self.places.base(value), 0, value.strides)} = {name};")
        return lines + stores

    def _element(self, base: Base, offset: int, strides: Sequence[int], more: Sequence[str] = ()) -> str:
        """An element of memory, ``strides`` being over the dims of the nest."""
        if self._tiles is not None:
            return self._tiles.element(base, offset, self.geometry.over_loops(strides))
        walk = terms(self.geometry.over_loops(strides), base.indices(self.indices))
        return self.memory.element(base, offset, [*walk, *more])

    def _read(self, access: Access, to: torch.dtype) -> str:
        value, number = access.value, access.number
        if number is not None:
            return literal(number if value.dtype == to else as_dtype(number, to), to)
        if value in self._names and access.is_identity(self.nest.dims):
            return converted(self._names[value], value.dtype, to)
        text = self._element(self.places.base(value), access.offset, access.strides)
        return converted(text, value.dtype, to)

    def _named(self, value: Value, text: str) -> str:
        name = self._names[value] = f"v{len(self._names)}"
        return f"const {c_type(value.dtype)} {name} = {text};"

    def _computed(self, value: Pointwise) -> tuple[list[str], str]:
        operands = [self._read(access, to) for access, to in zip(value.inputs, value.types, strict=True)]
        if value.expression == COPY:
            return [], converted(operands[0], value.types[0], value.dtype)
        # Where an expression has an index, no dims have been merged: each has a loop of its own.
        by_dim = self.indices[::-1] if self.nest.turned else self.indices
        text = formula(value.expression, operands, by_dim)
        # Arithmetic of truth values is that of bytes: 1 + 1 is true, which is 1.
        whole = f"(({text}) != 0)" if value.dtype is torch.bool else text
        checked = [formula(part, operands, by_dim) for part in never_zero(value)]
        self.checks |= bool(checked)
        return [f"bad |= ({part}) == 0;" for part in checked], whole

    def _steps(self, walks: Sequence[Walk]) -> tuple[list[str], list[str]]:
        """Statements that find where indices lead, and the terms that they add to an address. An index out of range is noted and
        replaced by 0."""
        lines: list[str] = []
        parts = []
        for walk in walks:
            self.checks = True
            name = f"at{self._walked}"
            self._walked += 1
            number = walk.index.number
            here = self._around_inner if self._is_the_same_inside(walk) else lines
            text = (
                self._read(walk.index, torch.int64) if number is None else literal(int(number), torch.int64)
            )
            here.append(f"int64_t {name} = {text};")
            if walk.wraps:
                here.append(f"{name} += {name} < 0 ? {walk.size} : 0;")
            here += [
                f"bad |= (uint64_t){name} >= {walk.size}u;",
                f"{name} = (uint64_t){name} >= {walk.size}u ? 0 : {name};",
            ]
            parts.append(f"{walk.stride} * {name}")
        return lines, parts

    def _fetched_ahead(self, take: Take) -> None:
        """Ask for a row of a large array some rows before it is read, where an index leads to it: no cache has it."""
        outer = len(self.dims) - 2
        if len(take.walks) != 1 or self.tiled or not self._is_the_same_inside(walk := take.walks[0]):
            return
        source, over = take.source.value, self.geometry.over_loops(walk.index.strides)
        if source.extent * source.dtype.itemsize < LARGE or not over[outer] or self.dims[outer] < 2 * AHEAD:
            return
        last = "e - 1" if self._in_sweep and outer == 0 else str(self.dims[outer] - 1)
        name, own = self.indices[outer], self.indices
        self.indices = [*own[:outer], f"({name} + {AHEAD} < {last} ? {name} + {AHEAD} : {last})", own[-1]]
        row = self._read(walk.index, torch.int64)
        self.indices = own
        size, strides = source.dtype.itemsize, take.source.strides
        first = self._element(self.places.base(source), take.source.offset, [0] * len(strides))
        bytes_read = size * (1 + (self.dims[-1] - 1) * self.geometry.over_loops(strides)[-1])
        offset = f"{size * walk.stride} * (uint64_t){row}"
        self._around_inner.append(f"ember_fetch(&{first}, {offset}, {bytes_read});")

    def _is_the_same_inside(self, walk: Walk) -> bool:
        """Whether an index is one number for the whole innermost loop: then this walks memory in order, without gathering."""
        if self._tiles is not None or len(self.dims) < 2 or walk.index.value in self._names:
            return False
        return walk.index.number is None and self.geometry.over_loops(walk.index.strides)[-1] == 0

    def _taken(self, take: Take) -> tuple[list[str], str]:
        lines, parts = self._steps(take.walks)
        source = take.source
        if source.number is not None:
            return lines, literal(source.number, source.value.dtype)
        self._fetched_ahead(take)
        return lines, self._element(self.places.base(source.value), source.offset, source.strides, parts)

    def _stored_part(self, store: Store) -> list[str]:
        part = store.part
        lines, parts = self._steps(part.walks)
        target = self._element(self.places.target(store), part.offset, part.strides, parts)
        dtype = part.operand.value.dtype if isinstance(store.target, int) else store.target.dtype
        return [*lines, f"{target} {'+=' if part.accumulate else '='} {self._read(part.operand, dtype)};"]

    # ---- the loops around it

    def _loop(self, depth: int, body: list[str], pragma: list[str]) -> list[str]:
        """The loops from a depth on, with the variables that live there."""
        here = [way for way in self.ways.values() if way.depth == depth]
        last = depth == len(self.dims)
        inner = body if last else self._one_loop(depth, self._loop(depth + 1, body, pragma), pragma)
        return [
            *(line for way in here for line in way.opened()),
            *inner,
            *(line for way in here for line in way.closed()),
        ]

    def _one_loop(self, depth: int, inner: list[str], pragma: list[str]) -> list[str]:
        size, name = self.dims[depth], self.indices[depth]
        last = depth == len(self.dims) - 1
        cutting = [way for way in self.ways.values() if way.cut == depth]
        in_tile = self.tiled and depth >= len(self.dims) - 2
        over_rows = self._in_sweep and depth == 0
        in_blocks = size > BLOCK and bool(cutting) and not in_tile and not over_rows
        start, end = "0", str(size)
        if over_rows:
            start, end = "b", "e"
        elif in_blocks:
            start, end = "part", f"(part + {BLOCK} < {size} ? part + {BLOCK} : {size})"
        elif in_tile:
            wide = self._tile(depth)
            start, end = f"t{depth}", f"(t{depth} + {wide} < {size} ? t{depth} + {wide} : {size})"
        head = pragma if last and size > 1 else []
        loop = [*head, f"for (int64_t {name} = {start}; {name} < {end}; {name}++) {{", *inner, "}"]
        if last:
            loop = [*self._around_inner, *loop]
        if in_tile and not last:
            return [*(self._over_tiles(d) for d in (depth, depth + 1)), "{", *loop, "}"]
        if not cutting:
            return loop
        return [
            f"for (int64_t part = 0; part < {size}; part += {BLOCK}) {{" if in_blocks else "{",
            *(line for way in cutting for line in way.block_opened()),
            *loop,
            *(line for way in cutting for line in way.block_closed()),
            "}",
        ]

    def _over_tiles(self, depth: int) -> str:
        return f"for (int64_t t{depth} = 0; t{depth} < {self.dims[depth]}; t{depth} += {self._tile(depth)})"

    def _tile(self, depth: int) -> int:
        """How far a tile goes: the lanes of a sum are added up at its end."""
        return LONG_TILE if self.ways and depth == len(self.dims) - 1 else TILE

    def _pragma(self) -> list[str]:
        """For the innermost loop, if it may have one."""
        stores = (item.part for item in self.nest.items if isinstance(item, Store))
        if not self.dims or any(part.walks or part.accumulate for part in stores):
            return []
        clauses = [way.clause() for way in self.ways.values()]
        if None in clauses:
            return []
        checks = " reduction(|:bad)" if self.checks else ""
        return [f"#pragma omp simd{checks}{''.join(clause or '' for clause in clauses)}"]


def origins(nest: Nest) -> list[str]:
    """Where in the user's program the items of a nest come from, as comments."""
    return [comment(origin) for origin in dict.fromkeys(_origin(item) for item in nest.items) if origin]


def _origin(item: Value | Store) -> str:
    return "" if isinstance(item, Store) else item.origin
