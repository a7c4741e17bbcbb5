"""One pass over the data: loops over the same rows become one loop over blocks of rows.

A regression reads its data twice in a step: for the predictor, and for the gradient, with the likelihood of each row between.
Where later loops need, of what earlier ones compute, the same row only, all of them go over one block of rows before the next
block is begun. The data are read from memory once, and what is only needed within a block has the size of a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

from ember.capture.native.loops.geometry import merged, walks_across
from ember.capture.native.loops.structure import (
    Nest,
    Schedule,
    Step,
    Store,
    Sweep,
    items_of,
    lives,
    operands_of,
    written_by,
)
from ember.capture.native.values.arrays import Access, Assemble, Constant, Reduce, Value
from ember.capture.native.values.calls import Call
from ember.capture.native.values.checks import draws
from ember.capture.native.values.costs import cost

FEWEST_ROWS = 512
MOST_BLOCK_ROWS = 256
_FEWEST_BLOCK_ROWS = 32
FEWEST_CHUNKED_NS = 1e5
"""What takes longer, by the table of costs, is cut into chunks."""
_BLOCK_BYTES = 2**15


def swept(schedule: Schedule) -> Schedule:
    """The same program with loops over the same rows put together."""
    grouper = _Grouper(schedule)
    groups = grouper.groups()
    return _rebuilt(schedule, groups, grouper.needs) if groups else schedule


class _Grouper:
    """Finds which loops can go over rows together."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.steps = schedule.steps
        self.needs = dependencies(schedule)
        """For each step, the earlier steps that it must come after."""

    def groups(self) -> list[list[int]]:
        """Positions of steps that become one, in order."""
        taken: set[int] = set()
        groups: list[list[int]] = []
        for first, nest in enumerate(self.steps):
            if first in taken or not self._is_eligible(nest):
                continue
            group = self._from(first, taken)
            together = len(group) > 1 and _share_memory([self.steps[k] for k in group])
            if not together:
                group = [first]
            if together or (isinstance(nest, Nest) and in_chunks([nest])):
                groups.append(group)
                taken |= set(group)
        return groups

    def _is_eligible(self, nest: Step) -> bool:
        if not isinstance(nest, Nest) or not nest.dims or nest.dims[0] < FEWEST_ROWS:
            return False
        if any(isinstance(item, Store) or item in self.schedule.direct for item in nest.items):
            return False
        if any(isinstance(item, Reduce) and not _keeps_rows_or_not(item) for item in nest.items):
            return False
        return not walks_across(nest, merged(nest, rows_apart=True))

    def _from(self, first: int, taken: set[int]) -> list[int]:
        """All later loops that can go along with one."""
        leader = self.steps[first]
        assert isinstance(leader, Nest)
        group = [first]
        made = _made_by(leader)
        behind: set[int] = set()
        """Steps outside of the group that need something of it."""
        for at in range(first + 1, len(self.steps)):
            step = self.steps[at]
            joins = (
                at not in taken
                and isinstance(step, Nest)
                and self._is_eligible(step)
                and step.dims[0] == leader.dims[0]
                and not (self.needs[at] & behind)
                and all(_by_row(access, step, made) for item in step.items for access in operands_of(item))
            )
            if joins:
                assert isinstance(step, Nest)
                group.append(at)
                made |= _made_by(step)
            elif self.needs[at] & (behind | set(group)):
                behind.add(at)
        return group


def _keeps_rows_or_not(reduce: Reduce) -> bool:
    """Whether a reduction is over rows, or finishes one number after another as it goes from row to row."""
    return 0 not in reduce.kept or reduce.kept == tuple(range(len(reduce.kept)))


def dependencies(schedule: Schedule) -> list[set[int]]:
    """Which earlier steps each step must come after."""
    writers: dict[Value, list[int]] = {}
    needs: list[set[int]] = []
    last_draw: int | None = None
    for at, step in enumerate(schedule.steps):
        own: set[int] = set()
        for item in items_of(step):
            for access in operands_of(item):
                own.update(writers.get(access.value, ()))
            if isinstance(item, Store) and isinstance(item.target, Assemble):
                own.update(writers.get(item.target, ()))
        if isinstance(step, Call) and draws(step):
            own |= {last_draw} if last_draw is not None else set()
            last_draw = at
        if writes_inputs(step, schedule):
            # What inputs held before is read by then, and nothing fails any more.
            own |= set(range(at))
        own.discard(at)
        needs.append(own)
        for value in _values_written(step):
            writers.setdefault(value, []).append(at)
    return needs


def writes_inputs(step: Step, schedule: Schedule) -> bool:
    """Whether a step changes what an input or an output holds."""
    return any(isinstance(target, int) or target in schedule.direct for target in written_by(step))


def _values_written(step: Step) -> Iterable[Value]:
    return (target for target in written_by(step) if isinstance(target, Value))


def _made_by(nest: Nest) -> set[Value]:
    return {item for item in nest.items if isinstance(item, Value)}


def _by_row(access: Access, nest: Nest, made: set[Value]) -> bool:
    """Whether a loop over rows reads, of a value that goes along, its own row only."""
    value = access.value
    if value not in made:
        return True
    if isinstance(value, Reduce) and not value.is_by_row:
        return False
    return reads_own_row(access, nest.dims)


def reads_own_row(access: Access, dims: Sequence[int]) -> bool:
    """Whether an access over dims, the first of which are rows, stays in the row that it is at."""
    value = access.value
    if not value.dims or value.dims[0] != dims[0] or len(access.strides) != len(dims):
        return False
    row = value.strides[0]
    spans = [(size - 1) * stride for size, stride in zip(dims[1:], access.strides[1:], strict=True)]
    low = access.offset + sum(min(span, 0) for span in spans)
    high = access.offset + sum(max(span, 0) for span in spans)
    return access.strides[0] == row and low >= 0 and high < row


def _share_memory(steps: Sequence[Step]) -> bool:
    """Whether loops read the same rows of something, so that going together saves anything."""
    seen: set[Value] = set()
    for step in steps:
        assert isinstance(step, Nest)
        read = {a.value for item in step.items for a in operands_of(item) if a.strides and a.strides[0]}
        if read & seen:
            return True
        seen |= read | _made_by(step)
    return False


def _rebuilt(schedule: Schedule, groups: Sequence[Sequence[int]], needs: Sequence[set[int]]) -> Schedule:
    """The schedule with groups as steps, in an order that keeps all that must come after something behind it."""
    steps = schedule.steps
    owner = {at: group[-1] for group in groups for at in group}
    leaders = {group[-1] for group in groups}
    unit = [owner.get(at, at) for at in range(len(steps))]
    members: dict[int, list[int]] = {}
    for at, number in enumerate(unit):
        members.setdefault(number, []).append(at)
    after = {n: {unit[k] for at in own for k in needs[at]} - {n} for n, own in members.items()}
    order = _sorted(after)
    new: list[Step] = []
    position: dict[int, int] = {}
    for number in order:
        own = members[number]
        for at in own:
            position[at] = len(new)
        nests = [step for step in (steps[at] for at in own) if isinstance(step, Nest)]
        is_sweep = number in leaders
        new.append(Sweep(nests, _block_rows(nests), in_chunks(nests)) if is_sweep else steps[own[0]])
    stored = lives(new, schedule.stored, {loss.value for loss in schedule.losses})
    return replace(schedule, steps=new, stored=stored, local=_local(new, schedule, stored))


def _sorted(after: dict[int, set[int]]) -> list[int]:
    """In the order of their numbers, as far as what comes after what allows."""
    users: dict[int, list[int]] = {number: [] for number in after}
    missing = {number: len(before) for number, before in after.items()}
    for number, before in after.items():
        for one in before:
            users[one].append(number)
    ready = [number for number, count in missing.items() if not count]
    heapify(ready)
    order = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for user in users[number]:
            missing[user] -= 1
            if not missing[user]:
                heappush(ready, user)
    assert len(order) == len(after)
    return order


def _local(
    steps: Sequence[Step], schedule: Schedule, stored: dict[Value, tuple[int, int]]
) -> dict[Value, int]:
    """Values that are needed within one block of rows only, and how many rows that has."""
    kept = {loss.value for loss in schedule.losses}
    local: dict[Value, int] = {}
    for at, step in enumerate(steps):
        if not isinstance(step, Sweep):
            continue
        for nest in step.nests:
            for item in nest.items:
                by_row = not isinstance(item, Reduce) or item.is_by_row
                if (
                    isinstance(item, Value)
                    and by_row
                    and item in stored
                    and stored[item] == (at, at)
                    and item not in kept
                ):
                    local[item] = step.block
    return local


def in_chunks(nests: Sequence[Nest]) -> bool:
    """Whether loops over rows take long enough for threads to share them."""
    values = (item for nest in nests for item in nest.items if isinstance(item, Value))
    return sum(map(cost, values)) >= FEWEST_CHUNKED_NS


def _block_rows(nests: Sequence[Nest]) -> int:
    """How many rows of all that a sweep touches stay in the nearest cache."""
    rows: dict[Value, int] = {}
    for nest in nests:
        for item in nest.items:
            for access in operands_of(item):
                if access.strides and access.strides[0] and not isinstance(access.value, Constant):
                    size = access.value.dtype.itemsize
                    rows[access.value] = max(rows.get(access.value, 0), abs(access.strides[0]) * size)
    block = MOST_BLOCK_ROWS
    while block > _FEWEST_BLOCK_ROWS and block * sum(rows.values()) > _BLOCK_BYTES:
        block //= 2
    return block
