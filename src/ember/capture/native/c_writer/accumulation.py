"""Where a reduction keeps what it has so far: each way a type, chosen once for each reduction of a nest.

A float32 sum is added up in pieces of at most ``BLOCK`` terms, and the pieces in float64: its error does not grow with its
length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ember.capture.native.c_writer.c_text import converted, literal, terms, total
from ember.capture.native.c_writer.places import Memory, Places
from ember.capture.native.loops.geometry import Geometry
from ember.capture.native.loops.structure import Nest
from ember.capture.native.values.arrays import Reduce
from ember.capture.native.values.dtypes import DTYPES, c_type

BLOCK = 256
# Arrays of so many sums lie on the stack.
MOST_COLUMNS = 4096
# A loop this short is not cut into blocks.
_SHORT = 16
_SIGNS = {"sum": "+", "prod": "*", "any": "|", "all": "&"}


@dataclass(frozen=True)
class Site:
    """A reduction in its nest."""

    number: int
    reduce: Reduce
    kept: tuple[int, ...]
    """The loops over which it does not go."""
    innermost: int
    address: str
    """Of its element, from the first on."""
    element: str
    """In memory, at the indices of the loops."""
    entry: str
    """In memory, at ``i``, the elements being counted from the first to the last."""
    terms: int
    """How many elements are combined to one."""

    @property
    def c(self) -> str:
        """The C type of its elements."""
        return c_type(self.reduce.dtype)

    @property
    def is_float_sum(self) -> bool:
        return self.reduce.dtype is torch.float32 and self.reduce.rule == "sum"

    @property
    def in_variable(self) -> bool:
        """Whether the loops that it keeps stand around all others, so that one number at a time is accumulated."""
        return self.kept == tuple(range(len(self.kept)))


def combination(rule: str, dtype: torch.dtype, target: str, text: str) -> str:
    """The statement by which a reduction combines what it has with more."""
    if rule in _SIGNS:
        return f"{target} {_SIGNS[rule]}= {text};"
    return f"{target} = ember_{rule}_{DTYPES[dtype].suffix}({target}, {text});"


class Accumulation:
    """What is written for one reduction: before, around and after the loops. This one writes nothing but the operation."""

    depth: int | None = None
    """How many loops stand around its variable; None if it has none."""
    cut: int | None = None
    """Which loop it has cut into blocks."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def before(self) -> list[str]:
        """Before all loops."""
        return []

    def opened(self) -> list[str]:
        """Within the loops that it keeps, before the others."""
        return []

    def block_opened(self) -> list[str]:
        """Before a block of the loop that it has cut."""
        return []

    def combined(self, text: str) -> str:
        """The statement for one element."""
        rule = self.site.reduce.rule
        truth = f"({text} != 0)" if rule in ("any", "all") else text
        return combination(rule, self.site.reduce.dtype, self.target(), truth)

    def target(self) -> str:
        """What an element is combined with."""
        raise NotImplementedError

    def block_closed(self) -> list[str]:
        """After a block of the loop that it has cut."""
        return []

    def closed(self) -> list[str]:
        """After the loops that it does not keep."""
        return []

    def after(self) -> list[str]:
        """After all loops."""
        return []

    def clause(self) -> str | None:
        """What the pragma of the innermost loop says of it; None if that loop must have no pragma."""
        raise NotImplementedError

    def start(self) -> str:
        """What it begins with."""
        rule, dtype = self.site.reduce.rule, self.site.reduce.dtype
        if rule in ("sum", "any"):
            return literal(0, dtype)
        if rule in ("prod", "all"):
            return literal(1, dtype)
        if dtype.is_floating_point:
            return literal(-math.inf if rule == "max" else math.inf, dtype)
        info = torch.iinfo(dtype)
        return literal(info.min if rule == "max" else info.max, dtype)


class InVariable(Accumulation):
    """In a variable; long sums of float32 in float64, truth values in integers as wide as most numbers that are compared."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.depth = len(site.kept)
        is_long = site.is_float_sum and site.terms > BLOCK
        is_truth = site.reduce.dtype is torch.bool
        self.dtype = torch.float64 if is_long else torch.int32 if is_truth else site.reduce.dtype

    def opened(self) -> list[str]:
        return [f"{c_type(self.dtype)} a{self.site.number} = {self.start()};"]

    def target(self) -> str:
        return f"a{self.site.number}"

    def closed(self) -> list[str]:
        return [f"{self.site.element} = {self.result()};"]

    def result(self) -> str:
        """The variable in the dtype of the reduction."""
        return converted(f"a{self.site.number}", self.dtype, self.site.reduce.dtype)

    def clause(self) -> str | None:
        rule = self.site.reduce.rule
        return f" reduction({_SIGNS.get(rule, rule)}:{self.target()})"


class InBlocks(InVariable):
    """In a float32 variable for a block of the innermost loop, which is added to one of float64."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.cut = site.innermost

    def block_opened(self) -> list[str]:
        return [f"float p{self.site.number} = 0;"]

    def target(self) -> str:
        return f"p{self.site.number}"

    def block_closed(self) -> list[str]:
        return [f"a{self.site.number} += p{self.site.number};"]


class NotingNan(InVariable):
    """An extreme: the plain comparison, which becomes vector code, drops NaN, so that those are noted by the side."""

    def opened(self) -> list[str]:
        return [*super().opened(), f"int n{self.site.number} = 0;"]

    def combined(self, text: str) -> str:
        target, number = self.target(), self.site.number
        sign = ">" if self.site.reduce.rule == "max" else "<"
        kept = f"{target} = {target} {sign} w ? {target} : w;"
        return f"{{ const {self.site.c} w = {text}; {kept} n{number} |= w != w; }}"

    def result(self) -> str:
        return f"n{self.site.number} ? NAN : {super().result()}"

    def clause(self) -> str | None:
        return f"{super().clause()} reduction(|:n{self.site.number})"


class InMemory(Accumulation):
    """Where the result belongs: an array, each element of which is come back to."""

    def before(self) -> list[str]:
        return [self.for_all(f"{self.site.entry} = {self.start()};")]

    def target(self) -> str:
        return self.site.element

    def clause(self) -> str | None:
        # An array is added to at another place for each index of an innermost loop that is kept.
        return "" if self.site.innermost in self.site.kept else None

    def for_all(self, statement: str) -> str:
        """A statement for all ``i`` of the array."""
        return f"for (int64_t i = 0; i < {self.site.reduce.extent}; i++) {statement}"


class InColumns(InMemory):
    """Sums over blocks of rows, in an array on the stack, which is added to the whole after each block."""

    cut = 0

    def before(self) -> list[str]:
        return [*super().before(), f"{self.site.c} c{self.site.number}[{self.site.reduce.extent}];"]

    def block_opened(self) -> list[str]:
        return [self.for_all(f"c{self.site.number}[i] = 0;")]

    def target(self) -> str:
        return f"c{self.site.number}[{self.site.address}]"

    def block_closed(self) -> list[str]:
        return [self.for_all(f"{self.site.entry} += c{self.site.number}[i];")]


class InWideArray(InMemory):
    """Sums in an array of float64 on the stack."""

    def before(self) -> list[str]:
        name = f"d{self.site.number}"
        return [
            *super().before(),
            f"double {name}[{self.site.reduce.extent}];",
            f"memset({name}, 0, sizeof {name});",
        ]

    def target(self) -> str:
        return f"d{self.site.number}[{self.site.address}]"

    def after(self) -> list[str]:
        return [self.for_all(f"{self.site.entry} = (float)d{self.site.number}[i];")]


class InTileByColumn(InMemory):
    """Sums by column in an array of the size of a tile, each place of which gets one number from each tile."""

    def __init__(self, site: Site, rows: int) -> None:
        super().__init__(site)
        self.rows = rows

    def before(self) -> list[str]:
        number, columns = self.site.number, self.site.reduce.extent
        return [
            f"{self.site.c} c{number}[{self.rows * columns}] = {{0}};",
            f"double d{number}[{columns}] = {{0}};",
            f"int k{number} = 0;",
        ]

    def target(self) -> str:
        return f"c{self.site.number}[j]"

    def block_closed(self) -> list[str]:
        number = self.site.number
        return [f"if (++k{number} == {BLOCK}) {{ k{number} = 0; {self.folded()} }}"]

    def after(self) -> list[str]:
        return [
            self.folded(),
            self.for_all(f"{self.site.entry} = ({self.site.c})d{self.site.number}[i];"),
        ]

    def folded(self) -> str:
        """Brings the array to that of the sums, in float64."""
        number, suffix = self.site.number, DTYPES[self.site.reduce.dtype].suffix
        return f"ember_fold_{suffix}(c{number}, d{number}, {self.site.reduce.extent}, {self.rows});"


class InTileByRow(Accumulation):
    """What is added up by row, in an array of the size of a tile."""

    def __init__(self, site: Site, rows: int, columns: int) -> None:
        super().__init__(site)
        self.rows = rows
        self.columns = columns

    def before(self) -> list[str]:
        number = self.site.number
        ones = f"for (int64_t i = 0; i < {self.columns}; i++) o{number}[i] = 1;"
        return [f"{self.site.c} r{number}[{self.rows * self.columns}], o{number}[{self.columns}];", ones]

    def combined(self, text: str) -> str:
        return f"r{self.site.number}[j] = {text};"

    def block_closed(self) -> list[str]:
        number, reduce = self.site.number, self.site.reduce
        sums = f"ember_row_dots_{DTYPES[reduce.dtype].suffix}"
        columns, step = self.columns, reduce.strides[-1] if reduce.strides else 0
        return [f"{sums}(r{number}, {columns}, o{number}, &{self.site.element}, {step}, n, {columns});"]

    def clause(self) -> str:
        return ""


def accumulations(
    nest: Nest,
    geometry: Geometry,
    indices: Sequence[str],
    places: Places,
    memory: Memory,
    taken: int = 0,
) -> dict[Reduce, Accumulation]:
    """For each reduction of a nest, the way that it takes; numbers from ``taken`` on are free."""
    found: dict[Reduce, Accumulation] = {}
    reduces = [item for item in nest.items if isinstance(item, Reduce)]
    for number, reduce in enumerate(reduces, taken):
        base = places.base(reduce)
        walk = terms(geometry.over_loops(reduce.over_domain), base.indices(indices))
        site = Site(
            number,
            reduce,
            tuple(geometry.kept_loops(reduce)),
            len(geometry.dims) - 1,
            total(0, walk),
            memory.element(base, 0, walk),
            memory.element(base, 0, ["i"]),
            math.prod(reduce.domain) // max(reduce.numel, 1),
        )
        found[reduce] = (
            _in_tile(site, geometry, nest.tile)
            if nest.tile
            else _in_variable(site, geometry)
            if site.in_variable
            else _in_array(site, geometry)
        )
    columns = [way for way in found.values() if type(way) is InMemory and way.site.is_float_sum]
    if columns and geometry.dims[0] > BLOCK and all(w.site.reduce.extent <= MOST_COLUMNS for w in columns):
        found |= {way.site.reduce: InColumns(way.site) for way in columns}
    return found


def _in_variable(site: Site, geometry: Geometry) -> Accumulation:
    if site.is_float_sum and site.terms > BLOCK and geometry.dims[-1] > _SHORT:
        return InBlocks(site)
    if site.reduce.rule in ("max", "min") and site.reduce.dtype.is_floating_point:
        return NotingNan(site)
    return InVariable(site)


def _in_tile(site: Site, geometry: Geometry, rows: int) -> Accumulation:
    if not site.kept:
        return _in_variable(site, geometry)
    if site.kept == (0,):
        return InTileByRow(site, rows, geometry.dims[1])
    return InTileByColumn(site, rows)


def _in_array(site: Site, geometry: Geometry) -> Accumulation:
    """In an array: of float64 where too many float32 would be added to one element within a block of rows."""
    gone = [min(n, BLOCK) if k == 0 else n for k, n in enumerate(geometry.dims) if k not in site.kept]
    if site.is_float_sum and math.prod(gone) > 4 * BLOCK and site.reduce.extent <= MOST_COLUMNS:
        return InWideArray(site)
    return InMemory(site)
