"""What is quicker to compute again than to bring from memory is computed where it is read.

A value is scheduled in the first loop that can have it, and kept in memory for later ones. The gradient of a matrix of weights
is an outer product of two vectors: kept, it is written once and read by the check of gradients and by the optimizer, each a
pass over memory. So are the moments that an optimizer has computed before it is known whether the step counts. Where a later
loop over the same dims can compute a value from what it reads anyway, it does, and the value needs no memory.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from ember.capture.native.loops.structure import (
    Item,
    Nest,
    Schedule,
    Store,
    items_of,
    lives,
    operands_of,
    written_by,
)
from ember.capture.native.values.arrays import Access, Constant, Input, Moved, Pointwise, Value
from ember.capture.native.values.calls import Call
from ember.capture.native.values.checks import can_fail
from ember.capture.native.values.costs import READ, cost
from ember.capture.native.values.expressions import Index, mapped
from ember.capture.native.values.layout import Dims, contiguous

LEAST_BYTES = 2**16
"""Of a value: the nearest cache holds smaller ones."""
MOST_ITEMS = 96
"""In one loop."""
LEAST_PASSES = 0.25
"""Over the memory of a value: what computing it again must save."""
_AT_ONCE = 8
"""Elements that vector code computes at once."""
_ACROSS = 4
"""How much longer than along its rows it takes to read an array across them."""


def recomputed(schedule: Schedule) -> Schedule:
    """The same program with less in memory."""
    return _Recomputer(schedule).run()


Order = tuple[int, ...]
"""Which dim of a value each dim of a loop walks."""
Copies = dict[tuple[Value, Order], Pointwise]
"""What a loop computes again, operands first, by what it is a copy of."""


@dataclass(frozen=True)
class _Reader:
    """An item that reads a value, and the step that it is in."""

    at: int
    item: Item | Call
    order: Order | None
    """In which its loop walks the value's dims, if it reads one element of it at each index."""


class _Recomputer:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.steps = list(schedule.steps)
        self.stored = set(schedule.stored)
        self._losses = {loss.value for loss in schedule.losses}
        self._home: dict[Value, int] = {}
        """The nest in which a value is computed."""
        self._written: dict[int, int] = {}
        """The first step that writes to each input or output, by number."""
        for at, step in enumerate(self.steps):
            for target in written_by(step):
                number = target if isinstance(target, int) else schedule.direct.get(target)
                if number is not None:
                    self._written.setdefault(number, at)
                if isinstance(target, Value):
                    self._home[target] = at

    def run(self) -> Schedule:
        large = [value for value in self._home if self._may_go(value)]
        if not large:
            return self.schedule
        # What reads a value is looked at before it, and may not need it any more.
        for value in sorted(large, key=self._position, reverse=True):
            self._try(value)
        steps = [step for step in self.steps if not isinstance(step, Nest) or step.items]
        return replace(self.schedule, steps=steps, stored=lives(steps, self.stored, self._losses))

    def _may_go(self, value: Value) -> bool:
        return (
            isinstance(value, Pointwise)
            and value in self.stored
            and value not in self._losses
            and value.numel * value.dtype.itemsize >= LEAST_BYTES
            and not can_fail(value)
        )

    def _position(self, value: Value) -> tuple[int, int]:
        at = self._home[value]
        items = items_of(self.steps[at])
        return at, next(k for k, item in enumerate(items) if item is value)

    def _try(self, value: Value) -> None:
        """Compute a value again in each later loop that can, if that is quicker on the whole."""
        home = self._home[value]
        readers = list(self._readers(value))
        again: dict[int, Copies] = {}
        for reader in readers:
            if reader.order is None or reader.at == home:
                continue
            if not self._copied(value, reader.order, reader.at, again.setdefault(reader.at, {})):
                return
        if not again:
            return
        before = self._nanoseconds([home, *again], self.stored)
        old_steps, old_stored = self.steps[:], self.stored
        for at, copies in again.items():
            self._compute_again(value, at, copies)
        if all(reader.order is not None or reader.at == home for reader in readers):
            self.stored = self.stored - {value}
            self.steps[home] = _without_dead(self._nest(home), self.stored.union(self.schedule.direct))
        after = self._nanoseconds([home, *again], self.stored)
        least = LEAST_PASSES * _pass(value, value.strides, value.dims)
        if before - after > least and all(len(self._nest(at).items) <= MOST_ITEMS for at in again):
            self._home |= {made: at for at, copies in again.items() for made in copies.values()}
            return
        self.steps, self.stored = old_steps, old_stored
        for reader in readers:
            for (source, order), made in again.get(reader.at, {}).items():
                if source is value and isinstance(reader.item, Value):
                    reader.item.rewire(_back(made, value, order))

    def _readers(self, value: Value) -> Iterator[_Reader]:
        for at in range(self._home[value], len(self.steps)):
            step = self.steps[at]
            for item in items_of(step):
                reads = [access for access in operands_of(item) if access.value is value]
                if reads:
                    orders = {
                        _order(access, step.dims) if isinstance(step, Nest) else None for access in reads
                    }
                    yield _Reader(at, item, orders.pop() if len(orders) == 1 else None)

    def _copied(self, value: Value, order: Order, at: int, copies: Copies) -> bool:
        """Copy a value, and what it is computed from and has no memory, for a loop; whether that can be."""
        if (value, order) in copies:
            return True
        if not isinstance(value, Pointwise) or can_fail(value):
            return False
        dims = _in_order(value.dims, order)
        inputs: list[Access] = []
        for access in value.inputs:
            walked = replace(access, strides=_in_order(access.strides, order))
            if not self._is_there(walked, at, dims):
                if not (access.is_identity(value.dims) and self._copied(access.value, order, at, copies)):
                    return False
                made = copies[access.value, order]
                walked = Access(made, 0, made.strides)
            inputs.append(walked)
        strides = value.strides if order == tuple(range(len(order))) else contiguous(dims)
        expression = mapped(
            value.expression, lambda part: Index(order.index(part.dim)) if isinstance(part, Index) else part
        )
        copies[value, order] = replace(
            value, dims=dims, strides=strides, expression=expression, inputs=tuple(inputs)
        )
        return True

    def _is_there(self, access: Access, at: int, dims: Dims) -> bool:
        """Whether a loop can read what an access reads."""
        value = access.value
        if isinstance(value, Input):
            written = self._written.get(value.index, at + 1)
            return written > at or (written == at and access.is_identity(dims))
        return isinstance(value, Constant) or value in self.stored or value in self.schedule.direct

    def _nest(self, at: int) -> Nest:
        nest = self.steps[at]
        assert isinstance(nest, Nest)
        return nest

    def _compute_again(self, value: Value, at: int, copies: Copies) -> None:
        """Let a loop compute a value before it reads it."""
        nest = self._nest(at)
        moved = _forth(value, copies, nest.dims)
        items: list[Item] = []
        first = len(nest.items)
        for k, item in enumerate(nest.items):
            reads = any(access.value is value for access in operands_of(item))
            first = min(first, k) if reads else first
            if reads and isinstance(item, Store):
                item = replace(item, part=item.part.rewired(moved))
            elif reads and isinstance(item, Value):
                item.rewire(moved)
            items.append(item)
        self.steps[at] = replace(nest, items=[*items[:first], *copies.values(), *items[first:]])

    def _nanoseconds(self, steps: Iterable[int], stored: Container[Value]) -> float:
        """What some loops take, roughly."""
        return sum(_nanoseconds(self._nest(at), stored, self.schedule.direct) for at in steps)


def _order(access: Access, dims: Dims) -> Order | None:
    """In which order an access over dims walks those of a value, if it reads one element at each index, and each once."""
    value = access.value
    places = {place: d for d, place in enumerate(zip(value.dims, value.strides, strict=True))}
    walked = tuple(places.get(place, -1) for place in zip(dims, access.strides, strict=False))
    whole = not access.offset and sorted(walked) == list(range(len(value.dims)))
    return walked if whole and len(access.strides) == len(dims) else None


def _in_order(numbers: Dims, order: Order) -> Dims:
    return tuple(numbers[d] for d in order)


def _forth(value: Value, copies: Copies, dims: Dims) -> Moved:
    """Reads copies of a value in its place."""

    def moved(access: Access, _: Dims | None = None) -> Access:
        order = _order(access, dims) if access.value is value else None
        made = None if order is None else copies.get((value, order))
        return access if made is None else Access(made, 0, made.strides)

    return moved


def _back(made: Value, value: Value, order: Order) -> Moved:
    """Reads a value in the place of a copy."""

    def moved(access: Access, _: Dims | None = None) -> Access:
        return Access(value, 0, _in_order(value.strides, order)) if access.value is made else access

    return moved


def _without_dead(nest: Nest, kept: Container[Value]) -> Nest:
    """The loop without what nothing reads."""
    items: list[Item] = []
    read: set[Value] = set()
    for item in reversed(nest.items):
        dead = isinstance(item, Pointwise) and item not in kept and item not in read and not can_fail(item)
        if not dead:
            items.append(item)
            read |= {access.value for access in operands_of(item)}
    return replace(nest, items=items[::-1])


def _nanoseconds(nest: Nest, stored: Container[Value], direct: Container[Value]) -> float:
    """What memory and arithmetic of a loop take, roughly; what the nearest cache holds is free."""
    own = set(nest.items)
    reads: dict[object, float] = {}
    total = 0.0
    for item in nest.items:
        for access in operands_of(item):
            if not (access.value in own and access.is_identity(nest.dims)):
                reads[access.key] = _pass(access.value, access.strides, nest.dims)
        if isinstance(item, Store):
            total += _pass(item.part.operand.value, item.part.strides, nest.dims)
        elif isinstance(item, Pointwise):
            total += cost(item) / _AT_ONCE
            if item in stored or item in direct:
                total += _pass(item, item.strides, nest.dims)
    return total + sum(reads.values())


def _pass(value: Value, strides: Dims, dims: Dims) -> float:
    """One pass over memory."""
    elements = math.prod(size for size, stride in zip(dims, strides, strict=False) if stride)
    size = elements * value.dtype.itemsize
    if isinstance(value, Constant) or size < LEAST_BYTES:
        return 0.0
    return READ * size / 4 * (_ACROSS if strides[-1:] > (1,) else 1)
