"""Values that a recorded run asks of tensors which stay as they are in a step: its program is right where it would get the same.

Nothing tells whether what is in a tensor has changed: its version does not count what is written through ``.data`` or NumPy. So
the values are computed anew, by the few operators that lead to them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ember.torch_private.modes import without_autocast

MOST_BYTES = 1 << 22
"""Tensors that are larger than this are not compared as wholes."""


def noted(value: Any) -> Hashable:
    """A value, or all that is in a tensor, in a form that can be compared; NaN is equal to itself.

    >>> noted(torch.tensor([1.0, float("nan")])) == noted(torch.tensor([1.0, float("nan")])), noted(1) == noted(True)
    (True, False)
    """
    if not isinstance(value, Tensor):
        return (type(value), repr(value))
    flat = value.detach().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return (value.dtype, tuple(value.shape), content)


def whole(tensor: Tensor) -> Tensor:
    """All that is in a tensor, as a question."""
    return tensor


class Operation(Protocol):
    """An operator of the run, as the recorder keeps it."""

    target: Any
    args: Any
    kwargs: Any
    uses: list[Any]
    kept: bool


@dataclass(frozen=True)
class _Slot:
    number: int


@dataclass(frozen=True)
class _Line:
    function: Callable[..., Any]
    args: Any
    kwargs: Any
    result: int
    """Where the result goes; -1 for a value that was asked for."""


class Asked:
    """What was asked, and how it is computed.

    Args:
        log: operators on such tensors, and questions, in the order of the run.
        questions: which of these are questions; with what they got.
        arguments: the operations that stand for the arguments.
        others: the operations that stand for other tensors, and these.
    """

    def __init__(
        self,
        log: Sequence[Operation],
        questions: dict[int, Hashable],
        arguments: Sequence[Operation],
        others: Iterable[tuple[Tensor, Operation]],
    ) -> None:
        self.noted = tuple(questions.values())
        slots: dict[int, _Slot] = {}
        for operation in arguments:
            slots.setdefault(id(operation), _Slot(len(slots)))
        self._places = [slots[id(operation)].number for operation in arguments]
        needed = self._needed = _needed(log, questions)
        self._others: list[tuple[int, Tensor]] = []
        for tensor, operation in others:
            if id(operation) in needed:
                slots[id(operation)] = _Slot(len(slots))
                self._others.append((slots[id(operation)].number, tensor))
        self._lines: list[_Line] = []
        for operation in log:
            if id(operation) not in needed:
                continue
            is_question = id(operation) in questions
            if not is_question:
                slots[id(operation)] = _Slot(len(slots))
            result = -1 if is_question else slots[id(operation)].number
            args, kwargs = _with_slots(operation.args, slots), _with_slots(operation.kwargs, slots)
            self._lines.append(_Line(operation.target, args, kwargs, result))
        self._size = len(slots)

    def reads(self, operation: Operation) -> bool:
        """Whether a value follows from what an operation gives."""
        return id(operation) in self._needed

    def values(self, arguments: Sequence[Tensor]) -> tuple[Hashable, ...]:
        """What the run would get for these arguments; an error counts as a value, and ends it."""
        found: list[Hashable] = []
        slots: list[Any] = [None] * self._size
        for place, tensor in zip(self._places, arguments, strict=True):
            slots[place] = tensor
        for place, tensor in self._others:
            slots[place] = tensor
        try:
            with torch.no_grad(), without_autocast():
                for line in self._lines:
                    value = line.function(*_filled(line.args, slots), **_filled(line.kwargs, slots))
                    if line.result < 0:
                        found.append(noted(value))
                    else:
                        slots[line.result] = value
        except Exception as error:
            found.append((type(error).__name__, str(error)))
        return tuple(found)

    def hold(self, arguments: Sequence[Tensor]) -> bool:
        """Whether the run would get what it got."""
        return self.values(arguments) == self.noted


def _needed(log: Sequence[Operation], questions: dict[int, Hashable]) -> set[int]:
    """Questions, what they use, and what changes that in place."""
    needed = set(questions)
    for operation in reversed(log):
        if id(operation) in needed or operation.kept:
            needed.add(id(operation))
            needed.update(map(id, operation.uses))
    return needed


def _with_slots(value: Any, slots: dict[int, _Slot]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)([_with_slots(part, slots) for part in value])
    if isinstance(value, dict):
        return {name: _with_slots(part, slots) for name, part in value.items()}
    return slots.get(id(value), value)


def _filled(value: Any, slots: list[Any]) -> Any:
    if isinstance(value, _Slot):
        return slots[value.number]
    if isinstance(value, (list, tuple)):
        return [_filled(part, slots) for part in value]
    if isinstance(value, dict):
        return {name: _filled(part, slots) for name, part in value.items()}
    return value


class Variants:
    """What the programs for one kind of call have asked; which of them a call needs."""

    def __init__(self) -> None:
        self._known: list[Asked] = []

    def __len__(self) -> int:
        return len(self._known)

    def place(self, arguments: Sequence[Tensor]) -> Hashable:
        """What asked for the values that it would get for these arguments; else all that they get, which stands for a new one."""
        found = []
        for asked in self._known:
            values = asked.values(arguments)
            if values == asked.noted:
                return asked
            found.append(values)
        return tuple(found)

    def add(self, asked: Asked, place: Hashable) -> None:
        """Another program has been made for calls at a place."""
        self._known = [known for known in self._known if known is not place]
        self._known.append(asked)
