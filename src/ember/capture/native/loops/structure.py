"""Nests of loops and calls, in order, and what needs memory meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ember.capture.native.values.arrays import Access, Assemble, Input, Part, Value
from ember.capture.native.values.calls import Call
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

    @property
    def can_fail(self) -> bool:
        """Whether it can find data that torch raises for."""
        return any(can_fail(item.part if isinstance(item, Store) else item) for item in self.items)


Step = Nest | Call
"""What a program does at once."""


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

    def read(self) -> set[Input]:
        """The inputs that it reads."""
        found: set[Input] = set()
        for step in self.steps:
            for item in step.items if isinstance(step, Nest) else [step]:
                operands = _operands(item)
                found |= {access.value for access in operands if isinstance(access.value, Input)}
        return found


def _operands(item: Item | Call) -> Sequence[Access]:
    if isinstance(item, Store):
        return item.part.operands()
    return item.inputs if isinstance(item, Call) else item.operands()


@dataclass(frozen=True, eq=False)
class Placed:
    """A schedule with where each value lies that needs memory: bytes from the start of the program's own."""

    schedule: Schedule
    offsets: dict[Value, int]
    size: int
    before: Placed | None = None
    """The schedule of what is done before, in the same memory."""
