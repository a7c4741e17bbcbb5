"""Which loops a nest has: adjacent dims that all its arrays walk as one are one loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ember.capture.native.loops.structure import Nest, Store
from ember.capture.native.values.arrays import Access, Constant, Pointwise, Reduce
from ember.capture.native.values.expressions import uses_index
from ember.capture.native.values.layout import Dims


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


def merged(nest: Nest) -> Geometry:
    """The loops of a nest, adjacent dims that are walked as one merged."""
    dims = nest.dims
    groups = [[d] for d in range(len(dims))]
    if not any(isinstance(item, Pointwise) and uses_index(item.expression) for item in nest.items):
        patterns = set(walked(nest))
        groups = []
        for d in range(len(dims)):
            if groups and all(s[d - 1] == s[d] * dims[d] for s in patterns):
                groups[-1].append(d)
            else:
                groups.append([d])
    sizes = tuple(math.prod(dims[d] for d in group) for group in groups)
    return Geometry(sizes, tuple(map(tuple, groups)))
