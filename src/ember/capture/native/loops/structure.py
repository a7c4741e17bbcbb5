"""Nests of loops and calls, in order, and what needs memory meanwhile."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ember.capture.native.values.arrays import Access, Assemble, Input, Part, Value
from ember.capture.native.values.calls import Call, Spread
from ember.capture.native.values.checks import can_fail
from ember.capture.native.values.layout import Dims


@dataclass(frozen=True, eq=False)
class Store:
    """Writes a part to the memory of a value, or of an input or output by number."""

    target: Assemble | int
    part: Part


Item = Value | Store


@dataclass(frozen=True, eq=False)
class Nest:
    """A nest of loops over ``dims`` with what is computed in it, in order."""

    dims: Dims
    items: list[Item] = field(default_factory=list)
    tile: int = 0
    """How many rows one loop goes over; 0: each row has a loop of its own."""
    turned: bool = False
    """Whether the loop over columns, of two, stands around that over rows."""

    @property
    def can_fail(self) -> bool:
        """Whether it can find data that torch raises for."""
        return any(can_fail(item.part if isinstance(item, Store) else item) for item in self.items)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Nests over the same rows, their first dim, all of which go over a block of rows before the next is begun."""

    nests: list[Nest]
    block: int
    """How many rows."""
    in_chunks: bool = False
    """Whether it is large enough for threads: then it is cut into chunks, the same for any number of them."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.nests[0].dims[0]

    @property
    def can_fail(self) -> bool:
        """Whether one of them can find data that torch raises for."""
        return any(nest.can_fail for nest in self.nests)


Step = Nest | Sweep | Call
"""What a program does at once."""


def step_can_fail(step: Step) -> bool:
    """Whether a step can find data that torch raises for."""
    return can_fail(step) if isinstance(step, Call) else step.can_fail


@dataclass(frozen=True, eq=False)
class Schedule:
    """Steps in order, and the values that need memory."""

    steps: list[Step]
    stored: dict[Value, tuple[int, int]]
    """The first and the last step between which each is needed."""
    direct: dict[Value, int]
    """Values that are written to the memory of an input at once."""
    losses: list[Access]
    """The elements of the first output."""
    pointers: tuple[torch.dtype, ...]
    """Of the inputs, and then of the outputs but the first: what the program gets pointers to."""
    outputs: tuple[tuple[Dims, torch.dtype], ...]
    """Shapes and dtypes of all outputs."""
    before: Schedule | None = None
    """What is done once, before the first of many steps."""
    filled: tuple[Input, ...] = ()
    """The inputs that get new contents."""
    local: Mapping[Value, int] = field(default_factory=dict)
    """Values of which only a block of rows is in memory, and how many rows that is."""

    def extent(self, value: Value) -> int:
        """How many elements of memory a value takes."""
        rows = self.local.get(value)
        return value.extent if rows is None else min(value.extent, value.strides[0] * rows)

    def read(self) -> set[Input]:
        """The inputs that it reads."""
        found: set[Input] = set()
        for step in self.steps:
            for item in items_of(step):
                found |= {access.value for access in operands_of(item) if isinstance(access.value, Input)}
        return found


def items_of(step: Step) -> Sequence[Item | Call]:
    """What a step does: the items of its nests, or the call that it is."""
    if isinstance(step, Call):
        return [step]
    nests = step.nests if isinstance(step, Sweep) else [step]
    return [item for nest in nests for item in nest.items]


def written_by(step: Step) -> Sequence[Value | int]:
    """What a step writes to: values, and inputs and outputs by number."""
    if isinstance(step, Spread):
        return [old.index for old in step.targets]
    if isinstance(step, Call):
        return step.outputs
    items = (item for item in items_of(step) if not isinstance(item, Call))
    return [item.target if isinstance(item, Store) else item for item in items]


def operands_of(item: Item | Call) -> Sequence[Access]:
    """What an item of a nest, or a call, reads."""
    if isinstance(item, Store):
        return item.part.operands()
    return item.inputs if isinstance(item, Call) else item.operands()


def lives(
    steps: Sequence[Step], stored: Iterable[Value], losses: Container[Value]
) -> dict[Value, tuple[int, int]]:
    """The first and the last step that touches each value; what is a loss is needed after the last."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for at, step in enumerate(steps):
        touched = [access.value for item in items_of(step) for access in operands_of(item)]
        for value in [*touched, *(target for target in written_by(step) if isinstance(target, Value))]:
            first.setdefault(value, at)
            last[value] = at
    return {value: (first[value], len(steps) if value in losses else last[value]) for value in stored}


@dataclass(frozen=True, eq=False)
class Placed:
    """A schedule with where each value lies that needs memory: bytes from the start of the program's own."""

    schedule: Schedule
    offsets: dict[Value, int]
    size: int
    before: Placed | None = None
    """The schedule of what is done before, in the same memory."""
