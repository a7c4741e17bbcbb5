"""What must hold of every schedule: all is computed before it is read, and read while it is in memory."""

from __future__ import annotations

from collections.abc import Iterable

from ember.capture.native.loops.structure import (
    Item,
    Nest,
    Placed,
    Schedule,
    Store,
    Sweep,
    operands_of,
    step_can_fail,
    written_by,
)
from ember.capture.native.loops.sweep import reads_own_row
from ember.capture.native.values.arrays import Access, Assemble, Constant, Input, Reduce, Value
from ember.capture.native.values.layout import Dims
from ember.capture.native.values.verify import require, verify_value


def verify_schedule(schedule: Schedule) -> None:
    """Each step reads what earlier steps have finished, and what nothing has written over."""
    _Checker(schedule).check()


def verify_placed(placed: Placed) -> None:
    """No two values lie at the same place at the same time."""
    lives = placed.schedule.stored
    taken: list[tuple[int, int, tuple[int, int]]] = []
    for value in sorted(lives, key=lambda v: placed.offsets[v]):
        begin = placed.offsets[value]
        end = begin + placed.schedule.extent(value) * value.dtype.itemsize
        require(begin % value.dtype.itemsize == 0, "a value lies at an odd place")
        require(end <= placed.size, "a value lies outside of the program's memory")
        taken = [other for other in taken if other[1] > begin]
        for _, _, (first, last) in taken:
            apart = last < lives[value][0] or lives[value][1] < first
            require(apart or begin == end, "two values lie at the same place at the same time")
        taken.append((begin, end, lives[value]))


class _Checker:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.finished: dict[Value, int] = {}
        """The last step that writes to each value."""
        self.overwritten: dict[int, int] = {}
        """The first step that writes to each input or output, by number."""
        for at, step in enumerate(schedule.steps):
            for value in written_by(step):
                if isinstance(value, int):
                    self.overwritten.setdefault(value, at)
                    continue
                self.finished[value] = at
                if value in schedule.direct:
                    self.overwritten.setdefault(schedule.direct[value], at)
                if value in schedule.stored:
                    require(schedule.stored[value][0] <= at, "a value is written before it has memory")

    def check(self) -> None:
        for at, step in enumerate(self.schedule.steps):
            if isinstance(step, Nest):
                self._nest(at, step)
                continue
            if isinstance(step, Sweep):
                self._sweep(at, step)
                continue
            for access, dims in zip(step.inputs, step.input_dims, strict=True):
                self._read(access, at, dims, frozenset())
        self._changes_come_last()
        end = len(self.schedule.steps)
        for loss in self.schedule.losses:
            self._read(loss, end, (), frozenset())

    def _changes_come_last(self) -> None:
        """A step that fails has changed no input."""
        schedule = self.schedule
        num_inputs = len(schedule.pointers) - len(schedule.outputs[1:])
        first = min((at for number, at in self.overwritten.items() if number < num_inputs), default=None)
        for at, step in enumerate(schedule.steps):
            require(
                not step_can_fail(step) or first is None or at < first,
                "an input is changed before a step that can fail",
            )

    def _sweep(self, at: int, sweep: Sweep) -> None:
        """What an earlier nest of the same sweep computes is read in the own row only, and when it is finished there."""
        made: set[Value] = set()
        for nest in sweep.nests:
            require(nest.dims[0] == sweep.rows, "all nests of a sweep have the same rows")
            for item in nest.items:
                for access in operands_of(item):
                    if access.value in made:
                        by_row = not isinstance(access.value, Reduce) or access.value.is_by_row
                        require(by_row, "a sum over rows is read before all rows are done")
                        require(reads_own_row(access, nest.dims), "another row is read")
            self._nest(at, nest, made)
            made |= {item for item in nest.items if isinstance(item, Value)}

    def _nest(self, at: int, nest: Nest, along: Iterable[Value] = ()) -> None:
        local: set[Value] = set()
        finished = frozenset(along)
        for item in nest.items:
            require(_dims(item) == nest.dims, "an item goes over the dims of its nest")
            for access in operands_of(item):
                if access.value not in finished:
                    self._read(access, at, nest.dims, local)
            if isinstance(item, Store):
                if isinstance(item.target, Assemble):
                    require(
                        item.target in self.schedule.stored, "parts are written to a value without memory"
                    )
                continue
            verify_value(item)
            if isinstance(item, Reduce):
                require(item in self.schedule.stored, "a reduction has no memory")
            else:
                local.add(item)

    def _read(self, access: Access, at: int, dims: Dims, local: Iterable[Value]) -> None:
        value = access.value
        if isinstance(value, Constant) or not value.extent:
            return
        if isinstance(value, Input):
            changed = self.overwritten.get(value.index, at + 1)
            same = changed == at and access.is_identity(dims)
            require(changed > at or same, "an input is read after it has been written over")
            return
        if value in local and access.is_identity(dims):
            return
        require(value in self.finished and self.finished[value] < at, "a value is read before it is finished")
        if value in self.schedule.direct:
            return
        require(value in self.schedule.stored, "a value is read that has no memory")
        require(at <= self.schedule.stored[value][1], "a value is read after its memory has been freed")


def _dims(item: Item) -> Dims:
    if isinstance(item, Store):
        return item.part.dims
    return item.domain if isinstance(item, Reduce) else item.dims
