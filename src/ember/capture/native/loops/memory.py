"""Where values lie in one block of memory: those that are not needed at the same time may share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ember.capture.native.loops.structure import Placed, Schedule
from ember.capture.native.values.arrays import Value

_ALIGNMENT = 64
# Smaller values have memory of their own: sharing it would save nothing.
_SMALL = 4096


def placed(schedule: Schedule) -> Placed:
    """A schedule with a place in memory for all that needs one."""
    offsets, size = place(schedule.stored, schedule.extent)
    before = None if schedule.before is None else placed(schedule.before)
    # One is over when the other begins.
    return Placed(schedule, offsets, max(size, _ALIGNMENT, before.size if before else 0), before)


def place(
    lives: dict[Value, tuple[int, int]], extent: Callable[[Value], int]
) -> tuple[dict[Value, int], int]:
    """Byte offsets of values that are needed from a first loop to a last, and the size of the whole."""

    def size_of(value: Value) -> int:
        return extent(value) * value.dtype.itemsize

    offsets: dict[Value, int] = {}
    at = 0
    for value in sorted((v for v in lives if size_of(v) < _SMALL), key=lambda v: (lives[v], v.serial)):
        itemsize = value.dtype.itemsize
        alignment = _ALIGNMENT if size_of(value) >= _ALIGNMENT else itemsize
        at = _up(at, alignment)
        offsets[value] = at
        at += max(size_of(value), itemsize)
    base = _up(at, _ALIGNMENT)
    end = base
    placed: list[tuple[int, int, tuple[int, int]]] = []
    for value in sorted((v for v in lives if size_of(v) >= _SMALL), key=lambda v: (-size_of(v), v.serial)):
        first, last = lives[value]
        size = _up(size_of(value), _ALIGNMENT)
        taken = sorted((o, o + s) for o, s, (f, last_one) in placed if f <= last and first <= last_one)
        offset = _gap(taken, size, base)
        placed.append((offset, size, (first, last)))
        offsets[value] = offset
        end = max(end, offset + size)
    return offsets, end


def _gap(taken: Iterable[tuple[int, int]], size: int, base: int) -> int:
    at = base
    for begin, end in taken:
        if begin - at >= size:
            return at
        at = max(at, end)
    return at


def _up(number: int, alignment: int) -> int:
    return -(-number // alignment) * alignment
