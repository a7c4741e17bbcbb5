"""Which loops a kernel has: adjacent dims that all its arrays walk as one are one loop."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ember.capture.native.loops.schedule import Kernel, Store
from ember.capture.native.values.arrays import Constant, Dims, Pointwise, Reduce

INDEX = re.compile(r"\{i(\d+)\}")
"""An index of a dim in an expression."""


@dataclass
class Geometry:
    """The loops after adjacent dims have been merged."""

    dims: list[int]
    groups: list[list[int]]
    """Which of the kernel's dims each loop walks."""


def walked(kernel: Kernel) -> list[tuple[int, Dims]]:
    """All strides that are walked, so that it can be seen which dims are walked as one."""
    found: list[tuple[int, Dims]] = []
    for item in kernel.items:
        if isinstance(item, Store):
            part = item.part
            found.append((part.offset, part.strides))
            found += [(a.offset, a.strides) for a in part.operands() if not isinstance(a.value, Constant)]
            continue
        found += [(a.offset, a.strides) for a in item.operands() if not isinstance(a.value, Constant)]
        if isinstance(item, Reduce):
            over = [0] * len(kernel.dims)
            mark = [0] * len(kernel.dims)
            for k, d in enumerate(item.kept):
                over[d] = item.strides[k]
            found.append((0, tuple(over)))
            # Dims that are kept never merge with dims that are not.
            kept_size = 1
            for d in range(len(kernel.dims) - 1, -1, -1):
                if d in item.kept:
                    mark[d] = kept_size
                    kept_size *= kernel.dims[d]
            found.append((0, tuple(mark)))
        else:
            found.append((0, item.strides))
    return found


def merged(kernel: Kernel) -> Geometry:
    """The loops of a kernel, adjacent dims that are walked as one merged."""
    dims = kernel.dims
    uses_index = any(isinstance(item, Pointwise) and INDEX.search(item.expression) for item in kernel.items)
    groups = [[d] for d in range(len(dims))]
    if not uses_index:
        patterns = [strides for _, strides in walked(kernel)]
        groups = []
        for d in range(len(dims)):
            if groups and all(s[d - 1] == s[d] * dims[d] for s in patterns):
                groups[-1].append(d)
            else:
                groups.append([d])
    return Geometry([math.prod(dims[d] for d in group) for group in groups], groups)
