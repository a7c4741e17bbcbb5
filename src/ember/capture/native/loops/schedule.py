"""Which loops there are, in which order, and which values need memory.

Values over the same dims share a loop where each reads, of the others in it, the element of its own index only. A value that
another loop reads, or that is read at another index, is kept in memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Call,
    Constant,
    Dims,
    Input,
    Part,
    Pointwise,
    Reduce,
    Result,
    Take,
    Value,
    contiguous,
)
from ember.capture.native.values.plan import Output, Plan

# Statements in one loop: more would not stay in registers, and compilers take longer for long bodies.
MOST_ITEMS = 96
MOST_SCALARS = 2000


@dataclass(eq=False)
class Store:
    """Writes an operand to the memory of a value (``offset + sum(index * strides)``), or of an input or output by number."""

    target: Assemble | int
    part: Part


Item = Value | Store


@dataclass(eq=False)
class Kernel:
    """A nest of loops over ``dims`` with what is computed in it, in order; or one call."""

    dims: Dims
    items: list[Item] = field(default_factory=list)
    call: Call | None = None


@dataclass(eq=False)
class Schedule:
    """Loops in order, and the values that need memory with the loops between which they do."""

    kernels: list[Kernel]
    stored: dict[Value, tuple[int, int]]
    """First and last loop."""
    direct: dict[Value, int]
    """Values that are written to the memory of an input at once."""
    losses: list[Access]
    """The elements of the first output."""
    num_inputs: int


class Scheduler:
    """Puts values into loops, one after another."""

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self._by_dims: dict[Dims, list[int]] = {}
        self._at: dict[Value, int] = {}
        self._last_use: dict[Value, int] = {}
        self._first: dict[Value, int] = {}
        self._stored: set[Value] = set()
        self._calls: dict[Call, int] = {}
        # Accesses to inputs, by input: (kernel, access, dims of the loop).
        self._reads: dict[int, list[tuple[int, Access, Dims]]] = {}

    def schedule(self, plan: Plan, num_inputs: int) -> Schedule:
        """Loops for a whole plan."""
        order = reachable(plan.roots(), plan.draws)
        flatten(order, plan.roots())
        for value in order:
            self._place(value)
        for call in plan.draws:
            self._place_call(call)
        # What is read of the inputs' old contents comes before these are written over.
        for k, output in enumerate(plan.outputs[1:]):
            self._output(output, num_inputs + k)
        losses = self._losses(plan.outputs[0], {old for old, _ in plan.finals}) if plan.outputs else []
        direct = self._write_back(plan.finals)
        for loss in losses:
            self._last_use[loss.value] = len(self.kernels)
        stored = {
            value: (self._first.get(value, self._at[value]), self._last_use.get(value, self._at[value]))
            for value in self._stored
            if value in self._at and value not in direct
        }
        return Schedule(self.kernels, stored, direct, losses, num_inputs)

    def _place(self, value: Value) -> None:
        if isinstance(value, Pointwise | Take):
            self._at[value] = self._add(value.dims, value, value.operands())
        elif isinstance(value, Reduce):
            self._at[value] = self._add(value.domain, value, value.operands())
            self._stored.add(value)
        elif isinstance(value, Assemble):
            self._assemble(value)
        elif isinstance(value, Result):
            assert value.call is not None
            self._place_call(value.call)

    def _assemble(self, value: Assemble) -> None:
        self._stored.add(value)
        at = -1
        if value.base is not None:
            part = Part(value.base, value.dims, 0, value.strides)
            at = self._first[value] = self._add(value.dims, Store(value, part), part.operands())
        for part in value.parts:
            bound = at + 1 if (value.ordered or part is value.parts[0]) and at >= 0 else 0
            if not value.ordered and value.base is not None:
                bound = self._first[value] + 1
            placed = self._add(part.dims, Store(value, part), part.operands(), bound)
            self._first[value] = min(self._first.get(value, placed), placed)
            at = max(at, placed)
        self._at[value] = max(at, 0)

    def _place_call(self, call: Call) -> None:
        if call in self._calls:
            return
        bound = 0
        for access in call.inputs:
            bound = max(bound, self._bound(access, None))
        at = len(self.kernels)
        assert bound <= at
        self.kernels.append(Kernel((), call=call))
        self._calls[call] = at
        for access in call.inputs:
            self._used(access, at, None)
        for result in call.outputs:
            self._at[result] = at
            self._stored.add(result)

    def _add(self, dims: Dims, item: Item, operands: Iterable[Access], bound: int = 0) -> int:
        """Put an item into the first loop over these dims in which all that it reads is known."""
        operands = tuple(operands)
        together = not (isinstance(item, Take) or (isinstance(item, Store) and item.part.indices))
        for access in operands:
            bound = max(bound, self._bound(access, dims if together else None))
        known = self._by_dims.setdefault(dims, [])
        at = -1
        most = MOST_ITEMS if dims else MOST_SCALARS
        for position in range(bisect_left(known, bound), len(known)):
            if len(self.kernels[known[position]].items) < most:
                at = known[position]
                break
        if at < 0:
            at = len(self.kernels)
            self.kernels.append(Kernel(dims))
            known.append(at)
        self.kernels[at].items.append(item)
        for access in operands:
            self._used(access, at, dims)
        return at

    def _bound(self, access: Access, dims: Dims | None) -> int:
        value = access.value
        if isinstance(value, Constant | Input):
            return 0
        at = self._at[value]
        if dims is not None and isinstance(value, Pointwise | Take) and access.is_identity(dims):
            return at
        return at + 1

    def _used(self, access: Access, at: int, dims: Dims | None) -> None:
        value = access.value
        if isinstance(value, Input):
            self._reads.setdefault(value.index, []).append((at, access, dims or ()))
        elif not isinstance(value, Constant):
            self._last_use[value] = max(self._last_use.get(value, -1), at)
            if self._at[value] != at:
                self._stored.add(value)

    def _write_back(self, finals: list[tuple[Input, Access]]) -> dict[Value, int]:
        """Bring new contents into the inputs' memory: at once where nothing reads the old ones any more, else at the end."""
        direct: dict[Value, int] = {}
        late = [
            (old, self._copied(old, access))
            for old, access in finals
            if isinstance(access.value, Input | Constant)
        ]
        for old, access in finals:
            new = access.value
            if isinstance(new, Input | Constant):
                continue
            if (
                isinstance(new, Pointwise | Take)
                and new not in direct
                and access.is_identity(old.dims)
                and new.strides == old.strides
                and self._may_write(old, self._at[new])
            ):
                direct[new] = old.index
            else:
                self._stored.add(new)
                late.append((old, access))
        start = len(self.kernels)
        spread: dict[tuple[Value, Dims, Dims, Dims], list[tuple[Input, Access]]] = {}
        for old, access in late:
            spread.setdefault((access.value, access.strides, old.dims, old.strides), []).append((old, access))
        for group in spread.values():
            if len(group) > 1:
                self._spread(group)
                continue
            old, access = group[0]
            part = Part(access, old.dims, 0, old.strides)
            self._add(old.dims, Store(old.index, part), part.operands(), start)
        return direct

    def _copied(self, old: Input, access: Access, strides: Dims | None = None) -> Access:
        """What lies in an input, which may change, or is one number, in memory of its own."""
        strides = contiguous(old.dims) if strides is None else strides
        copy = Pointwise(old.dtype, old.dims, strides, expression="{0}", types=(old.dtype,))
        constant = isinstance(access.value, Constant)
        copy.inputs = (Access(access.value, 0, (0,) * len(old.dims)) if constant else access,)
        self._at[copy] = self._add(copy.dims, copy, copy.inputs)
        self._stored.add(copy)
        return Access(copy, 0, copy.strides)

    def _spread(self, group: list[tuple[Input, Access]]) -> None:
        """Bring several pieces of one value to the memory of several inputs."""
        at = len(self.kernels)
        accesses = tuple(access for _, access in group)
        call = Call("spread", accesses, tuple(old.dims for old, _ in group), tuple(old for old, _ in group))
        self.kernels.append(Kernel((), call=call))
        for access in accesses:
            self._used(access, at, None)

    def _may_write(self, old: Input, at: int) -> bool:
        return all(
            kernel < at or (kernel == at and access.is_identity(dims))
            for kernel, access, dims in self._reads.get(old.index, ())
        )

    def _output(self, output: Output, pointer: int) -> None:
        """Write an output, row by row, to the memory that is given for it."""
        kept = [i for i, n in enumerate(output.shape) if n != 1]
        dims = tuple(output.shape[i] for i in kept)
        strides = tuple(output.access.strides[i] for i in kept)
        part = Part(Access(output.access.value, output.access.offset, strides), dims, 0, contiguous(dims))
        self._add(dims, Store(pointer, part), part.operands())

    def _losses(self, output: Output, changed: set[Input]) -> list[Access]:
        """Single elements of the first output, which are handed back as numbers when all has been computed."""
        value = output.access.value
        if isinstance(value, Input) and value in changed:
            value = self._copied(value, Access(value, 0, value.strides), value.strides).value
        elif not isinstance(value, Constant | Input):
            self._stored.add(value)
        places = [output.access.offset]
        for size, stride in zip(output.shape, output.access.strides, strict=True):
            places = [place + k * stride for place in places for k in range(size)]
        return [Access(value, place, ()) for place in places]


def reachable(roots: Iterable[Value], draws: Sequence[Call] = ()) -> list[Value]:
    """All values that these need, operands first, in the order in which they came into being as far as that allows. Results of
    ``draws`` stand in the order of the calls."""
    needs: dict[Value, list[Value]] = {}
    stack = list(roots)
    after = {result: earlier.outputs[0] for earlier, later in pairwise(draws) for result in later.outputs}
    while stack:
        value = stack.pop()
        if value not in needs:
            needs[value] = list({access.value: None for access in value.operands()})
            if value in after:
                needs[value].append(after[value])
            stack += needs[value]
    users: dict[Value, list[Value]] = {value: [] for value in needs}
    missing = {value: len(set(operands)) for value, operands in needs.items()}
    for value, operands in needs.items():
        for operand in set(operands):
            users[operand].append(value)
    # Values may share a number; where they were found settles their order, the same in every process.
    rank = {value: position for position, value in enumerate(needs)}
    ready = [(value.serial, rank[value], value) for value, count in missing.items() if not count]
    heapify(ready)
    order = []
    while ready:
        _, _, value = heappop(ready)
        order.append(value)
        for user in users[value]:
            missing[user] -= 1
            if not missing[user]:
                heappush(ready, (user.serial, rank[user], user))
    assert len(order) == len(needs)
    return order


def flatten(order: list[Value], roots: Iterable[Value]) -> None:
    """Several writes to one piece of memory, one after another, become parts of one value."""
    uses: dict[Value, int] = {}
    for value in order:
        for access in value.operands():
            uses[access.value] = uses.get(access.value, 0) + 1
    for root in roots:
        uses[root] = uses.get(root, 0) + 1
    gone: set[Any] = set()
    for value in order:
        if not isinstance(value, Assemble) or value.base is None:
            continue
        base = value.base.value
        if isinstance(base, Assemble) and uses[base] == 1 and value.base.is_identity(value.dims):
            value.base, value.parts, value.ordered = base.base, [*base.parts, *value.parts], True
            gone.add(base)
    order[:] = [value for value in order if value not in gone]
