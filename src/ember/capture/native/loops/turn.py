"""Loops go along the rows of most of what they touch.

Torch keeps a Cholesky factor, and what is computed from it, column by column. A loop over the rows of one such matrix that reads
five others across takes vectors apart to single numbers; the loop over its columns reads but one across.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ember.capture.native.loops.geometry import Geometry, merged
from ember.capture.native.loops.structure import Nest, Schedule, Step, Store
from ember.capture.native.values.arrays import Constant, Pointwise, Reduce, Take, Value

FEWEST = 16
"""Rows and columns."""


def turned(schedule: Schedule) -> Schedule:
    """The same program with loops the other way round where that is the shorter way through memory."""
    return replace(schedule, steps=[_turned(step, schedule) for step in schedule.steps])


def _turned(step: Step, schedule: Schedule) -> Step:
    if not isinstance(step, Nest) or step.tile or not all(_fits(item) for item in step.items):
        return step
    geometry = merged(step)
    if len(geometry.dims) != 2 or min(geometry.dims) < FEWEST:
        return step
    along, across = _ways(step, geometry, schedule)
    return replace(step, turned=True) if across > along else step


def _fits(item: Value | Store) -> bool:
    """Whether the order of the loops is of no account to an item."""
    if isinstance(item, Store):
        return not item.part.accumulate
    if isinstance(item, Reduce):
        return not item.kept
    return isinstance(item, Take | Pointwise)


def _ways(nest: Nest, geometry: Geometry, schedule: Schedule) -> tuple[int, int]:
    """How many arrays are walked along their rows, and how many across."""
    values = {item for item in nest.items if isinstance(item, Value)}
    walks: set[tuple[object, Sequence[int]]] = set()
    for item in nest.items:
        if isinstance(item, Store):
            walks.add((item, item.part.strides))
        elif not isinstance(item, Reduce) and (item in schedule.stored or item in schedule.direct):
            walks.add((item, item.strides))
        for access in item.part.operands() if isinstance(item, Store) else item.operands():
            in_loop = access.value in values and access.is_identity(nest.dims)
            if (
                not in_loop
                and not isinstance(access.value, Constant)
                and len(access.strides) == len(nest.dims)
            ):
                walks.add((access.key, access.strides))
    over = [geometry.over_loops(strides) for _, strides in walks]
    along = sum(outer > 1 and inner == 1 for outer, inner in over)
    return along, sum(outer == 1 and inner > 1 for outer, inner in over)
