"""Which loops there are, in which order, and which values need memory.

Values over the same dims share a loop where each reads, of the others in it, the element of its own index only. A value that
another loop reads, or that is read at another index, is kept in memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ember.capture.native.loops.structure import Item, Nest, Schedule, Step, Store
from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Constant,
    Input,
    Part,
    Pointwise,
    Reduce,
    Take,
    Value,
)
from ember.capture.native.values.calls import Call, Result, Spread
from ember.capture.native.values.checks import can_fail
from ember.capture.native.values.expressions import COPY
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.native.values.order import reachable
from ember.capture.native.values.plan import Output, Plan

# Statements in one loop: more would not stay in registers, and compilers take longer for long bodies.
MOST_ITEMS = 96
MOST_SCALARS = 2000


def scheduled(plan: Plan) -> Schedule:
    """Loops for a whole plan."""
    return Scheduler().schedule(plan)


class Scheduler:
    """Puts values into loops, one after another."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._nests: dict[int, Nest] = {}
        self._by_dims: dict[Dims, list[int]] = {}
        self._at: dict[Value, int] = {}
        self._last_use: dict[Value, int] = {}
        self._first: dict[Value, int] = {}
        self._stored: set[Value] = set()
        self._calls: dict[Call, int] = {}
        self._last_check = -1
        """The last step that can fail. What the inputs hold changes after it."""
        self._new: set[Value] = set()
        """New contents of inputs."""
        # Accesses to inputs, by input: (step, access, dims of the loop).
        self._reads: dict[int, list[tuple[int, Access, Dims]]] = {}

    def schedule(self, plan: Plan) -> Schedule:
        """Loops for a whole plan."""
        order = reachable(plan.roots(), plan.draws)
        self._new = {access.value for _, access in plan.finals}
        flatten(order, plan.roots())
        for value in order:
            self._place(value)
        for call in plan.draws:
            self._place_call(call)
        # What is read of the inputs' old contents comes before these are written over.
        for k, output in enumerate(plan.outputs[1:]):
            self._output(output, len(plan.inputs) + k)
        losses = self._losses(plan.outputs[0], {old for old, _ in plan.finals}) if plan.outputs else []
        direct = self._write_back(plan.finals)
        for loss in losses:
            self._last_use[loss.value] = len(self.steps)
        stored = {
            value: (self._first.get(value, self._at[value]), self._last_use.get(value, self._at[value]))
            for value in self._stored
            if value in self._at and value not in direct
        }
        pointers = (*(old.dtype for old in plan.inputs), *(output.dtype for output in plan.outputs[1:]))
        outputs = tuple((output.shape, output.dtype) for output in plan.outputs)
        before = None if plan.before is None else scheduled(plan.before)
        filled = tuple(old for old, _ in plan.finals)
        return Schedule(self.steps, stored, direct, losses, pointers, outputs, before, filled)

    def _place(self, value: Value) -> None:
        if isinstance(value, Pointwise | Take):
            bound = self._last_check + 1 if value in self._new else 0
            self._at[value] = self._add(value.dims, value, value.operands(), bound)
        elif isinstance(value, Reduce):
            self._at[value] = self._add(value.domain, value, value.operands())
            self._stored.add(value)
        elif isinstance(value, Assemble):
            self._assemble(value)
        elif isinstance(value, Result):
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
        at = len(self.steps)
        assert bound <= at
        self.steps.append(call)
        if can_fail(call):
            self._last_check = at
        self._calls[call] = at
        for access in call.inputs:
            self._used(access, at, None)
        for result in call.outputs:
            self._at[result] = at
            self._stored.add(result)

    def _add(self, dims: Dims, item: Item, operands: Iterable[Access], bound: int = 0) -> int:
        """Put an item into the first loop over these dims in which all that it reads is known."""
        operands = tuple(operands)
        together = not (isinstance(item, Take) or (isinstance(item, Store) and item.part.walks))
        for access in operands:
            bound = max(bound, self._bound(access, dims if together else None))
        known = self._by_dims.setdefault(dims, [])
        at = -1
        most = MOST_ITEMS if dims else MOST_SCALARS
        for position in range(bisect_left(known, bound), len(known)):
            if len(self._nests[known[position]].items) < most:
                at = known[position]
                break
        if at < 0:
            at = len(self.steps)
            self._nests[at] = Nest(dims)
            self.steps.append(self._nests[at])
            known.append(at)
        self._nests[at].items.append(item)
        if can_fail(item.part if isinstance(item, Store) else item):
            self._last_check = max(self._last_check, at)
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

    def _write_back(self, finals: Iterable[tuple[Input, Access]]) -> dict[Value, int]:
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
        start = len(self.steps)
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
        if isinstance(access.value, Constant):
            access = Access(access.value, 0, (0,) * len(old.dims))
        copy = Pointwise(old.dtype, old.dims, strides, expression=COPY, inputs=(access,), types=(old.dtype,))
        self._at[copy] = self._add(copy.dims, copy, copy.inputs)
        self._stored.add(copy)
        return Access(copy, 0, copy.strides)

    def _spread(self, group: list[tuple[Input, Access]]) -> None:
        """Bring several pieces of one value to the memory of several inputs."""
        at = len(self.steps)
        accesses = tuple(access for _, access in group)
        targets = tuple(old for old, _ in group)
        dims = tuple(old.dims for old in targets)
        self.steps.append(Spread(inputs=accesses, input_dims=dims, targets=targets))
        for access in accesses:
            self._used(access, at, None)

    def _may_write(self, old: Input, at: int) -> bool:
        return at > self._last_check and all(
            step < at or (step == at and access.is_identity(dims))
            for step, access, dims in self._reads.get(old.index, ())
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


def flatten(order: list[Value], roots: Iterable[Value]) -> None:
    """Several writes to one piece of memory, one after another, become parts of one value."""
    uses: dict[Value, int] = {}
    for value in order:
        for access in value.operands():
            uses[access.value] = uses.get(access.value, 0) + 1
    for root in roots:
        uses[root] = uses.get(root, 0) + 1
    gone: set[Value] = set()
    for value in order:
        if not isinstance(value, Assemble) or value.base is None:
            continue
        base = value.base.value
        if isinstance(base, Assemble) and uses[base] == 1 and value.base.is_identity(value.dims):
            value.base, value.parts, value.ordered = base.base, (*base.parts, *value.parts), True
            gone.add(base)
    order[:] = [value for value in order if value not in gone]
