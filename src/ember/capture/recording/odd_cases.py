"""What code asks of tensors to find an odd case: the answer is hardly ever another, so that a program may take it for granted."""

from __future__ import annotations

import sys
from itertools import zip_longest
from types import FrameType
from typing import Any, Protocol

import torch

aten = torch.ops.aten
_WHOLE = (aten.any.default, aten.all.default)
_EQUALITY = (aten.eq.Scalar, aten.eq.Tensor, aten.ne.Scalar, aten.ne.Tensor)


class Operation(Protocol):
    """An operator of the run, as the recorder keeps it."""

    target: Any
    uses: list[Any]


def finds_odd_cases(func: Any, args: Any, asked: Operation) -> bool:
    """Whether a question is one of these: whether floats are exactly equal, or whether something holds anywhere, or everywhere,
    in a tensor (a variance below zero, a matrix without a factor).

    Args:
        func: the operator that reads values.
        args: its arguments.
        asked: the operation that has made the first of these.
    """
    if func is aten.equal.default:
        return True
    if func is not aten._local_scalar_dense.default or args[0].dtype != torch.bool:
        return False
    is_equality = asked.target in _EQUALITY and asked.uses[0].meta.dtype.is_floating_point
    return is_equality or asked.target in _WHOLE


_Call = tuple[int, int]
"""A frame, by its identity, and the place in its code where it is."""


class Answers:
    """The answers of a run. A loop that asks again until the answer is another waits for it: that is no odd case."""

    def __init__(self) -> None:
        self._given: dict[str, list[tuple[list[_Call], bool]]] = {}

    def add(self, origin: str, answer: bool) -> bool:
        """Keep the answer to a question of the calling code; False if a loop has had another one.

        Args:
            origin: the line that asks.
            answer: what it is told.
        """
        calls = _calls()
        earlier = self._given.setdefault(origin, [])
        waits = any(other is not answer and _from_one_place(calls, before) for before, other in earlier)
        earlier.append((calls, answer))
        return not waits


def _calls() -> list[_Call]:
    """Where all functions of this thread are, the outermost first."""
    calls: list[_Call] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        calls.append((id(frame), frame.f_lasti))
        frame = frame.f_back
    return calls[::-1]


def _from_one_place(calls: list[_Call], before: list[_Call]) -> bool:
    """Whether a place of a function that goes on has led to both: then it lies in a loop."""
    for one, other in zip_longest(calls, before):
        if one != other:
            return one is None or other is None or one[0] != other[0]
    return True
