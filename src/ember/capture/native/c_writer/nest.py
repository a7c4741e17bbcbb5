"""One nest of loops as C."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ember.capture.native.c_writer.c_text import C_TYPES, address, cast, comment, converted, literal
from ember.capture.native.loops.geometry import merged, walked
from ember.capture.native.loops.schedule import Kernel, Store
from ember.capture.native.values.arrays import (
    Access,
    Constant,
    Dims,
    Pointwise,
    Reduce,
    Take,
    UnsupportedError,
    Value,
)

_SUFFIX = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
}
# A float32 sum is added up in pieces of this length, and the pieces in float64.
BLOCK = 256
# Arrays of so many sums lie on the stack.
MOST_COLUMNS = 4096
# Rows and columns of a piece of a loop that reads one array along its rows and another across them.
TILE = 32

Location = Callable[[Value], str]
"""The name of a C pointer to the memory of a value."""


@dataclass
class LoopWriter:
    """Writes the C of one kernel."""

    kernel: Kernel
    location: Location
    stored: Callable[[Value], bool]
    lines: list[str] = field(default_factory=list)

    def write(self) -> list[str]:
        """The lines, as one block."""
        self._names: dict[Value, str] = {}
        self._geometry = merged(self.kernel)
        self._reduces = [item for item in self.kernel.items if isinstance(item, Reduce)]
        self._indices = [f"i{k}" for k in range(len(self._geometry.dims))]
        self._checks = False
        self._walked = 0
        self._chunk = self._chunked_columns()
        self._tiled = self._walks_across()
        self._setup()
        body = self._body()
        self._nest(body)
        self._finish()
        return self.lines

    def _over_loops(self, strides: Sequence[int]) -> list[int]:
        """Strides over the loops: those of the last dim of each group."""
        return [strides[group[-1]] for group in self._geometry.groups]

    def _at(self, offset: int, strides: Sequence[int]) -> str:
        return address(offset, self._over_loops(strides), self._indices)

    # ---- reductions

    def _kept_loops(self, reduce: Reduce) -> list[int]:
        return [k for k, group in enumerate(self._geometry.groups) if group[-1] in reduce.kept]

    def _depth(self, reduce: Reduce) -> int | None:
        """At which depth of the loops its accumulator lives; None if it is an array."""
        kept = self._kept_loops(reduce)
        return len(kept) if kept == list(range(len(kept))) else None

    def _out_address(self, reduce: Reduce) -> str:
        over = [0] * len(self.kernel.dims)
        for k, d in enumerate(reduce.kept):
            over[d] = reduce.strides[k]
        return address(0, self._over_loops(over), self._indices)

    def _accumulator(self, reduce: Reduce) -> torch.dtype:
        if reduce.dtype is torch.float32 and reduce.rule == "sum":
            return torch.float64
        return reduce.dtype

    def _start(self, reduce: Reduce) -> str:
        dtype = reduce.dtype
        if reduce.rule in ("sum", "any"):
            return literal(0, dtype)
        if reduce.rule in ("prod", "all"):
            return literal(1, dtype)
        if dtype.is_floating_point:
            return literal(-math.inf if reduce.rule == "max" else math.inf, dtype)
        info = torch.iinfo(dtype)
        return literal(info.min if reduce.rule == "max" else info.max, dtype)

    def _combined(self, reduce: Reduce, target: str, text: str) -> str:
        rule = reduce.rule
        if rule == "sum":
            return f"{target} += {text};"
        if rule == "prod":
            return f"{target} *= {text};"
        if rule in ("any", "all"):
            return f"{target} {'|' if rule == 'any' else '&'}= ({text} != 0);"
        if self._watches_nan(reduce):
            # The plain comparison, which becomes vector code, drops NaN: those are noted by the side.
            number, sign = self._reduces.index(reduce), ">" if rule == "max" else "<"
            kept = f"{target} = {target} {sign} w ? {target} : w;"
            return f"{{ const {C_TYPES[reduce.dtype]} w = {text}; {kept} n{number} |= w != w; }}"
        return f"{target} = ember_{rule}_{_SUFFIX[reduce.dtype]}({target}, {text});"

    def _watches_nan(self, reduce: Reduce) -> bool:
        return (
            reduce.rule in ("max", "min")
            and reduce.dtype.is_floating_point
            and self._depth(reduce) is not None
        )

    def _wide(self, reduce: Reduce) -> bool:
        """Whether so many float32 are added to one element of an array, within a block of rows, that it must be of float64."""
        if self._depth(reduce) is not None or reduce.dtype is not torch.float32 or reduce.rule != "sum":
            return False
        kept = self._kept_loops(reduce)
        gone = [min(n, BLOCK) if k == 0 else n for k, n in enumerate(self._geometry.dims) if k not in kept]
        return math.prod(gone) > 4 * BLOCK and reduce.extent <= MOST_COLUMNS

    def _chunked_columns(self) -> bool:
        """Whether sums over rows go to arrays, one block of rows after another."""
        columns = self._columns()
        rows = self._geometry.dims[0] if self._geometry.dims else 0
        return bool(columns) and rows > BLOCK and all(r.extent <= MOST_COLUMNS for _, r in columns)

    # ---- text

    def _read(self, access: Access, to: torch.dtype) -> str:
        value = access.value
        if isinstance(value, Constant):
            return literal(value.number if value.dtype == to else cast(value.number, to), to)
        if value in self._names and access.is_identity(self.kernel.dims):
            return converted(self._names[value], value.dtype, to)
        text = f"{self.location(value)}[{self._at(access.offset, access.strides)}]"
        return converted(text, value.dtype, to)

    def _body(self) -> list[str]:
        """What is done at one index."""
        lines: list[str] = []
        stores: list[str] = []
        origin = ""
        for item in self.kernel.items:
            if not isinstance(item, Store) and item.origin not in ("", origin):
                origin = item.origin
                lines.append(comment(origin))
            if isinstance(item, Store):
                stores += self._stored_part(item)
            elif isinstance(item, Pointwise):
                self._name(item, lines, self._expression(item))
            elif isinstance(item, Take):
                self._name(item, lines, self._taken(item, lines))
            elif isinstance(item, Reduce):
                assert item.operand is not None
                target = self._target(item)
                lines.append(self._combined(item, target, self._read(item.operand, item.dtype)))
        for value, name in self._names.items():
            if self.stored(value):
                stores.append(f"{self.location(value)}[{self._at(0, value.strides)}] = {name};")
        return lines + stores

    def _name(self, value: Value, lines: list[str], text: str) -> None:
        name = f"v{len(self._names)}"
        lines.append(f"const {C_TYPES[value.dtype]} {name} = {text};")
        self._names[value] = name

    def _expression(self, value: Pointwise) -> str:
        operands = [self._read(a, t) for a, t in zip(value.inputs, value.types, strict=True)]
        names = {f"i{d}": self._indices[k] for k, g in enumerate(self._geometry.groups) for d in g}
        text = value.expression.format(*operands, **names)
        if value.expression == "{0}":
            return converted(text, value.types[0], value.dtype)
        # Arithmetic of truth values is that of bytes: 1 + 1 is true, which is 1.
        return f"(({text}) != 0)" if value.dtype is torch.bool else text

    def _target(self, reduce: Reduce) -> str:
        number = self._reduces.index(reduce)
        if self._depth(reduce) is not None:
            return f"p{number}" if self._blocked(reduce) else f"a{number}"
        if self._chunk and (number, reduce) in self._columns():
            return f"c{number}[{self._out_address(reduce)}]"
        if self._wide(reduce):
            return f"d{number}[{self._out_address(reduce)}]"
        return f"{self.location(reduce)}[{self._out_address(reduce)}]"

    def _blocked(self, reduce: Reduce) -> bool:
        """Whether the innermost loop adds up float32 by itself, for a float64 around it."""
        innermost = len(self._geometry.dims) - 1
        return (
            reduce.dtype is torch.float32
            and reduce.rule == "sum"
            and innermost >= 0
            and self._geometry.dims[innermost] > 16
            and self._depth(reduce) is not None
        )

    def _walk(
        self, access: Access, indices: Sequence[Access], strides: Dims, sizes: Dims, lines: list[str]
    ) -> str:
        """The address of an element that indices point to; an index out of range is noted and replaced by 0."""
        terms = [self._at(access.offset, access.strides)]
        for index, stride, size in zip(indices, strides, sizes, strict=True):
            name = f"at{self._walked}"
            self._walked += 1
            text = self._read(index, torch.int64)
            if isinstance(index.value, Constant):
                text = f"INT64_C({int(index.value.number)})"
            lines.append(f"int64_t {name} = {text};")
            lines.append(f"{name} += {name} < 0 ? {size} : 0;")
            lines.append(f"bad |= (uint64_t){name} >= {size}u;")
            lines.append(f"{name} = (uint64_t){name} >= {size}u ? 0 : {name};")
            terms.append(f"{stride} * {name}")
            self._checks = True
        return " + ".join(terms)

    def _taken(self, take: Take, lines: list[str]) -> str:
        assert take.source is not None
        if 0 in take.index_sizes:
            raise UnsupportedError("an index into an empty tensor")
        place = self._walk(take.source, take.indices, take.index_strides, take.index_sizes, lines)
        value = take.source.value
        if isinstance(value, Constant):
            return literal(value.number, value.dtype)
        return f"{self.location(value)}[{place}]"

    def _stored_part(self, store: Store) -> list[str]:
        part = store.part
        lines: list[str] = []
        to = Access(part.operand.value, part.offset, part.strides)
        place = self._walk(to, part.indices, part.index_strides, part.index_sizes, lines)
        target = self.location(store.target) if isinstance(store.target, Value) else f"x{store.target}"
        dtype = part.operand.value.dtype if isinstance(store.target, int) else store.target.dtype
        text = self._read(part.operand, dtype)
        lines.append(f"{target}[{place}] {'+=' if part.accumulate else '='} {text};")
        return lines

    def _setup(self) -> None:
        for number, reduce in enumerate(self._reduces):
            if self._depth(reduce) is None:
                start, size = self._start(reduce), reduce.extent
                self.lines.append(
                    f"for (int64_t i = 0; i < {size}; i++) {self.location(reduce)}[i] = {start};"
                )
                if self._chunk and (number, reduce) in self._columns():
                    self.lines.append(f"{C_TYPES[reduce.dtype]} c{number}[{size}];")
                if self._wide(reduce):
                    self.lines += [f"double d{number}[{size}];", f"memset(d{number}, 0, sizeof d{number});"]

    def _nest(self, body: list[str]) -> None:
        """The loops around the body."""
        self._pragma = self._clauses()
        self.lines += self._loop(0, body)

    def _loop(self, depth: int, body: list[str]) -> list[str]:
        """The loops from a depth on, with the accumulators that live there."""
        here = [(n, r) for n, r in enumerate(self._reduces) if self._depth(r) == depth]
        lines = [f"{C_TYPES[self._accumulator(r)]} a{n} = {self._start(r)};" for n, r in here]
        lines += [f"int n{n} = 0;" for n, r in here if self._watches_nan(r)]
        if depth == len(self._geometry.dims):
            lines += body
        else:
            lines += self._one_loop(depth, self._loop(depth + 1, body))
        for n, r in here:
            text = converted(f"a{n}", self._accumulator(r), r.dtype)
            if self._watches_nan(r):
                text = f"n{n} ? NAN : {text}"
            lines.append(f"{self.location(r)}[{self._out_address(r)}] = {text};")
        return lines

    def _one_loop(self, depth: int, inner: list[str]) -> list[str]:
        size, name = self._geometry.dims[depth], self._indices[depth]
        last = depth == len(self._geometry.dims) - 1
        sums = [n for n, r in enumerate(self._reduces) if last and self._blocked(r)]
        columns = self._columns() if depth == 0 and self._chunk else []
        in_tile = self._tiled and depth >= len(self._geometry.dims) - 2
        in_blocks = size > BLOCK and bool(sums or columns) and not in_tile
        start, end = "0", str(size)
        if in_blocks:
            start, end = "b", f"(b + {BLOCK} < {size} ? b + {BLOCK} : {size})"
        elif in_tile:
            start, end = f"t{depth}", f"(t{depth} + {TILE} < {size} ? t{depth} + {TILE} : {size})"
        pragma = [self._pragma] if last and self._pragma and size > 1 else []
        loop = [*pragma, f"for (int64_t {name} = {start}; {name} < {end}; {name}++) {{", *inner, "}"]
        if in_tile and not last:
            tiles = [
                f"for (int64_t t{d} = 0; t{d} < {self._geometry.dims[d]}; t{d} += {TILE})"
                for d in (depth, depth + 1)
            ]
            return [*tiles, "{", *loop, "}"]
        if not (sums or columns):
            return loop
        before = [f"float p{n} = 0;" for n in sums]
        before += [f"for (int64_t i = 0; i < {r.extent}; i++) c{n}[i] = 0;" for n, r in columns]
        after = [f"a{n} += p{n};" for n in sums]
        after += [
            f"for (int64_t i = 0; i < {r.extent}; i++) {self.location(r)}[i] += c{n}[i];" for n, r in columns
        ]
        around = f"for (int64_t b = 0; b < {size}; b += {BLOCK}) {{" if in_blocks else "{"
        return [around, *before, *loop, *after, "}"]

    def _walks_across(self) -> bool:
        """Whether the two inner loops walk an array across its rows, so that they are better cut into tiles."""
        dims = self._geometry.dims
        if len(dims) < 2 or min(dims[-2:]) < 2 * TILE or math.prod(dims) < 2**14:
            return False
        if any(depth is None or depth > len(dims) - 2 for depth in map(self._depth, self._reduces)):
            return False
        walks = [self._over_loops(strides)[-2:] for _, strides in walked(self.kernel)]
        return any(outer == 1 and inner > 1 for outer, inner in walks)

    def _columns(self) -> list[tuple[int, Reduce]]:
        """Sums over rows in float32, which are added up in blocks of rows."""
        return [
            (n, r)
            for n, r in enumerate(self._reduces)
            if self._depth(r) is None and r.dtype is torch.float32 and r.rule == "sum" and not self._wide(r)
        ]

    def _clauses(self) -> str:
        """The pragma for the innermost loop, if it may have one."""
        innermost = len(self._geometry.dims) - 1
        if innermost < 0 or any(isinstance(item, Store) and item.part.indices for item in self.kernel.items):
            return ""
        clauses = " reduction(|:bad)" if self._checks else ""
        for number, reduce in enumerate(self._reduces):
            depth = self._depth(reduce)
            if depth is None:
                # An array is added to at another place for each index of an innermost loop that is kept.
                if innermost not in self._kept_loops(reduce):
                    return ""
                continue
            sign = {"sum": "+", "prod": "*", "any": "|", "all": "&"}.get(reduce.rule, reduce.rule)
            clauses += f" reduction({sign}:{'p' if self._blocked(reduce) else 'a'}{number})"
            if self._watches_nan(reduce):
                clauses += f" reduction(|:n{number})"
        return f"#pragma omp simd{clauses}"

    def _finish(self) -> None:
        for number, reduce in enumerate(self._reduces):
            if self._wide(reduce):
                target = f"{self.location(reduce)}[i] = (float)d{number}[i]"
                self.lines.append(f"for (int64_t i = 0; i < {reduce.extent}; i++) {target};")
        if self._checks:
            self.lines.insert(0, "int bad = 0;")
            self.lines.append("if (bad) *failed = 1;")
