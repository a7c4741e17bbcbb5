"""Short rows are gone over together: loops over rows and, within, over a few columns become one loop over a tile of rows.

Vector code does 8 or 16 columns at once and what is left of a row one by one: of 40 columns, the last 8 take longer than all
others. A tile of 12 rows is 480 elements in a row, and nothing is left. What is read by column or by row alone is spread out
to the size of a tile first, by column once, by row for each tile; sums by column or by row are kept there, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ember.capture.native.loops.geometry import Geometry, merged, walks_across
from ember.capture.native.loops.structure import Item, Nest, Schedule, Step, Store, Sweep
from ember.capture.native.values.arrays import Access, Constant, Pointwise, Reduce, Value
from ember.capture.native.values.costs import ARITHMETIC, cost_at_element
from ember.capture.native.values.expressions import uses_index
from ember.capture.native.values.layout import Dims

FEWEST_ELEMENTS = 512
"""Of a tile, and of a loop that is worth one."""
MOST_COLUMNS = 256
MOST_ELEMENTS = 2048
LEAST_GAIN = 1.1
"""How many times as long a row by itself must take."""
_LANE_SUM = 10.0
"""What it takes to add up the lanes of a vector, in operations."""
_TILE_BYTES = 2**15
"""Of all that is spread out: it should stay in the nearest cache."""
_VECTOR_BYTES = 64
"""Of the longest vectors."""
_LANES = 16


def flattened(schedule: Schedule) -> Schedule:
    """The same program with loops over short rows in tiles."""
    return replace(schedule, steps=[_flat(step, schedule) for step in schedule.steps])


def _flat(step: Step, schedule: Schedule) -> Step:
    if isinstance(step, Sweep):
        return replace(step, nests=[_tiled(nest, schedule, step.block) for nest in step.nests])
    return _tiled(step, schedule, None) if isinstance(step, Nest) else step


def _tiled(nest: Nest, schedule: Schedule, block: int | None) -> Nest:
    """The nest with the rows of its tiles; ``block`` are those of a block of a sweep."""
    geometry = merged(nest, rows_apart=block is not None)
    if len(geometry.dims) != 2 or not _is_short(geometry):
        return nest
    if block is None and walks_across(nest, geometry):
        return nest
    if not all(_fits(item, geometry, schedule) for item in nest.items):
        return nest
    spread = Spreading.of(nest, geometry)
    if spread.gain(geometry.dims[1]) < LEAST_GAIN:
        return nest
    rows = _rows(geometry, spread, geometry.dims[0] if block is None else block)
    return replace(nest, tile=rows) if rows > 1 else nest


def _is_short(geometry: Geometry) -> bool:
    return 1 < geometry.dims[1] <= MOST_COLUMNS and math.prod(geometry.dims) >= FEWEST_ELEMENTS


def goes_through(strides: Dims | list[int], geometry: Geometry) -> bool:
    """Whether strides over the loops lead through memory as through one row, or stay where they are."""
    return strides[0] == strides[1] * geometry.dims[1]


def _fits(item: Item, geometry: Geometry, schedule: Schedule) -> bool:
    """Whether what an item writes can be written tile by tile."""
    if isinstance(item, Store):
        plain = not item.part.walks and not item.part.accumulate
        return plain and goes_through(geometry.over_loops(item.part.strides), geometry)
    if isinstance(item, Reduce):
        kept = geometry.kept_loops(item)
        by_column = geometry.over_loops(item.over_domain) == [0, 1]
        is_sum = item.rule == "sum" and item.dtype in (torch.float32, torch.float64)
        return not kept or (is_sum and (kept == [0] or (kept == [1] and by_column)))
    if not isinstance(item, Pointwise) or uses_index(item.expression):
        return False
    has_memory = item in schedule.stored or item in schedule.direct
    return not has_memory or goes_through(geometry.over_loops(item.strides), geometry)


@dataclass(frozen=True)
class Spreading:
    """What has the size of a tile."""

    operations: float
    """At an element, without what it takes to spread anything."""
    lane_sums: int
    """What is added up over each row, if it has a loop of its own."""
    lanes: int
    """Of a vector."""
    arrays: int
    in_each_tile: int
    """Arrays that are filled or added up for each tile."""
    bytes: int
    """Of all arrays, for one element."""

    def gain(self, columns: int) -> float:
        """How many times as long as a row in a tile a row by itself takes, roughly: in operations of vectors and of what is left
        of a row."""
        # A row that is shorter than a vector is done with a shorter one.
        whole, left = divmod(columns, min(self.lanes, 1 << columns.bit_length() - 1))
        by_itself = (whole + left) * self.operations + _LANE_SUM * self.lane_sums
        filled = -(-columns // self.lanes) * self.in_each_tile
        return by_itself / (columns / self.lanes * (self.operations + self.arrays) + filled)

    @staticmethod
    def of(nest: Nest, geometry: Geometry) -> Spreading:
        """What a nest needs."""
        values = [item for item in nest.items if isinstance(item, Value)]
        read = {
            access.key: access
            for item in nest.items
            for access in (item.part.operands() if isinstance(item, Store) else item.operands())
            if not (access.value in values and access.is_identity(nest.dims)) and is_spread(access, geometry)
        }
        reduces = [item for item in values if isinstance(item, Reduce)]
        kept = [geometry.kept_loops(item) for item in reduces]
        computed = sum(cost_at_element(item) for item in values if isinstance(item, Pointwise))
        filled = [access for access in read.values() if geometry.over_loops(access.strides)[0]]
        in_tile = [item.dtype for item, loops in zip(reduces, kept, strict=True) if loops]
        return Spreading(
            operations=1 + computed / ARITHMETIC + len(reduces),
            lane_sums=sum(loops != [1] for loops in kept),
            lanes=_VECTOR_BYTES // max((item.dtype.itemsize for item in values), default=1),
            arrays=len(read) + len(in_tile),
            in_each_tile=len(filled) + kept.count([0]),
            bytes=sum(dtype.itemsize for dtype in (*in_tile, *(a.value.dtype for a in read.values()))),
        )


def is_spread(access: Access, geometry: Geometry) -> bool:
    """Whether what an access reads is brought to the size of a tile first."""
    strides = geometry.over_loops(access.strides)
    return not isinstance(access.value, Constant) and not goes_through(strides, geometry)


def _rows(geometry: Geometry, spread: Spreading, most: int) -> int:
    """Of a tile: as few as are enough, and of these the number that leaves least over; 0 if there is none."""
    columns = geometry.dims[1]
    elements = min(MOST_ELEMENTS, _TILE_BYTES // max(spread.bytes, 1))
    least = min(-(-min(FEWEST_ELEMENTS, elements // 2) // columns), most)
    fitting = range(least, min(elements // columns, most) + 1)
    return min(fitting, key=lambda rows: (rows * columns % _LANES, rows), default=0)
