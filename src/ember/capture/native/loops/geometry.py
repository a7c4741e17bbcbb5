"""Which loops a nest has: adjacent dims that all its arrays walk as one are one loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ember.capture.native.loops.structure import Nest, Store
from ember.capture.native.values.arrays import Access, Constant, Pointwise, Reduce
from ember.capture.native.values.expressions import uses_index
from ember.capture.native.values.layout import Dims

# Rows and columns of a piece of a loop that reads one array along its rows and another across them.
TILE = 32
LONG_TILE = 128
_FEWEST_TILED = 2**14


@dataclass(frozen=True)
class Geometry:
    """The loops after adjacent dims have been merged."""

    dims: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    """Which of the nest's dims each loop walks."""

    def over_loops(self, strides: Sequence[int]) -> list[int]:
        """Strides over the loops: those of the last dim of each group."""
        return [strides[group[-1]] for group in self.groups]

    def kept_loops(self, reduce: Reduce) -> list[int]:
        """The loops over which a reduction does not go."""
        return [k for k, group in enumerate(self.groups) if group[-1] in reduce.kept]


def walked(nest: Nest) -> list[Dims]:
    """All strides that are walked, so that it can be seen which dims are walked as one."""
    found: list[Dims] = []
    for item in nest.items:
        if isinstance(item, Store):
            found += [item.part.strides, *_strides(item.part.operands())]
            continue
        found += _strides(item.operands())
        if isinstance(item, Reduce):
            found += [item.over_domain, _kept_marks(item)]
        else:
            found.append(item.strides)
    return found


def _strides(accesses: Sequence[Access]) -> list[Dims]:
    return [access.strides for access in accesses if not isinstance(access.value, Constant)]


def _kept_marks(reduce: Reduce) -> Dims:
    """Strides by which dims that are kept never merge with dims that are not."""
    marks = [0] * len(reduce.domain)
    size = 1
    for d in range(len(reduce.domain) - 1, -1, -1):
        if d in reduce.kept:
            marks[d] = size
            size *= reduce.domain[d]
    return tuple(marks)


def merged(nest: Nest, rows_apart: bool = False) -> Geometry:
    """The loops of a nest, adjacent dims that are walked as one merged; ``rows_apart`` keeps the first for itself."""
    dims = nest.dims
    groups = [[d] for d in range(len(dims))]
    if not any(isinstance(item, Pointwise) and uses_index(item.expression) for item in nest.items):
        patterns = set(walked(nest))
        groups = []
        for d in range(len(dims)):
            if d > int(rows_apart) and all(s[d - 1] == s[d] * dims[d] for s in patterns):
                groups[-1].append(d)
            else:
                groups.append([d])
    if nest.turned:
        groups.reverse()
    sizes = tuple(math.prod(dims[d] for d in group) for group in groups)
    return Geometry(sizes, tuple(map(tuple, groups)))


def walks_across(nest: Nest, geometry: Geometry) -> bool:
    """Whether the two inner loops walk an array across its rows, so that they are better cut into tiles."""
    dims = geometry.dims
    if len(dims) < 2 or min(dims[-2:]) < 2 * TILE or math.prod(dims) < _FEWEST_TILED:
        return False
    if any(_is_inside(item, geometry) for item in nest.items if isinstance(item, Reduce)):
        return False
    walks = [geometry.over_loops(strides)[-2:] for strides in walked(nest)]
    return any(outer == 1 and inner > 1 for outer, inner in walks)


def _is_inside(reduce: Reduce, geometry: Geometry) -> bool:
    """Whether a reduction has its place within the two inner loops."""
    kept = geometry.kept_loops(reduce)
    in_variable = kept == list(range(len(kept)))
    return not in_variable or len(kept) > len(geometry.dims) - 2
