"""What a recorded run takes for granted: conditions that its code branches on, which every later run looks at again.

Validation asks whether all values are valid, and goes on if they are. A recording goes on without a look at them, and notes
the question. A run of the program in which an answer is no ends with :class:`Unforeseen`, and changes nothing. Python then
takes the step: it raises its own error, or does whatever else it does there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import CodeType, FrameType

import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Geometric, constraints

from ember.ops.provenance import detach_provenance


class Unforeseen(Exception):
    """Internal: something that the recorded run took for granted does not hold now. Nothing has changed."""


_VALIDATING: frozenset[CodeType] = frozenset(
    function.__code__
    for function in (
        type(constraints.positive_definite).check,
        type(constraints.positive_semidefinite).check,
        ContinuousBernoulli.__init__,
        Geometric.__init__,
    )
)
"""Functions of torch that go on where a tensor is true, and where it is not know that a value is invalid."""


def is_validating(frame: FrameType | None) -> bool:
    """Whether the code of a frame asks for a truth value because it validates. Modes of torch stand between the two."""
    while frame is not None and frame.f_code.co_name == "__torch_function__":
        frame = frame.f_back
    return frame is not None and frame.f_code in _VALIDATING


class Assumptions:
    """The conditions that one recording has taken for granted.

    Args:
        is_constant: whether a tensor follows from numbers that the program wrote, so that it is the same in every run.
    """

    def __init__(self, is_constant: Callable[[Tensor], bool]) -> None:
        self.conditions: list[Tensor] = []
        """Truth values without dims."""
        self._is_constant = is_constant

    def holds(self, condition: Tensor) -> bool:
        """Whether all of a condition is true, as far as the recording is concerned."""
        whole = detach_provenance(condition).all()
        if self._is_constant(whole):
            return bool(whole)
        self.conditions.append(whole)
        return True

    def excuse(self, excused: Tensor) -> None:
        """Where this is true, none of the conditions so far needs to hold."""
        if self.conditions:
            self.conditions[:] = [torch.stack(self.conditions).all() | excused]

    def answered(self) -> Tensor | None:
        """Whether all conditions so far hold; none of them needs to any more. None if there are none."""
        if not self.conditions:
            return None
        together = torch.stack(self.conditions).all()
        self.conditions.clear()
        return together


class _Current(threading.local):
    assumptions: Assumptions | None = None


CURRENT = _Current()
"""Those of the recording that goes on in this thread."""


def answered() -> Tensor | None:
    """What the recording in this thread has assumed so far, as a truth value that the program itself looks at: a run in which it
    does not hold goes on. None if it is nothing, and where nothing is recorded."""
    return None if CURRENT.assumptions is None else CURRENT.assumptions.answered()


def excuse(excused: Tensor) -> None:
    """Let nothing that the recording in this thread has assumed matter where this is true."""
    if CURRENT.assumptions is not None:
        CURRENT.assumptions.excuse(excused)
