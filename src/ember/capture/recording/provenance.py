"""Where an operator of a recorded run came from: the user's line, the site, the optimizer's parameter; or backward of these.

Functions that work for one site, or one parameter, are marked by a decorator, which leaves them as they are: only a recording
looks for them among the frames below an operator, so eager execution pays nothing.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_right
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Literal, TypeVar

from ember.capture import folders
from ember.torch_private.autograd import current_node, next_number, number_of

F = TypeVar("F", bound=Callable[..., Any])
Label = Callable[[FrameType, FrameType], "str | None"]
"""From the frame of a marked function, and the innermost frame above it, to what the function was working on."""

_LABELS: dict[int, tuple[CodeType, Label]] = {}


def works_for(label: str | Label, variable: str = "name") -> Callable[[F], F]:
    """Mark a function as working for something that has a name: operators under it are attributed to that.

    Args:
        label: a format for the value of ``variable``, or a function of two frames: the marked function's and the innermost.
        variable: the local variable that holds the name.

        >>> @works_for("site {!r}")
        ... def log_prob(name, value):
        ...     return value.exp()
    """
    find = _of_variable(label, variable) if isinstance(label, str) else label

    def mark(function: F) -> F:
        code = function.__code__
        _LABELS[id(code)] = (code, find)
        return function

    return mark


def _of_variable(template: str, variable: str) -> Label:
    def find(frame: FrameType, innermost: FrameType) -> str | None:
        name = frame.f_locals.get(variable)
        return None if name is None else template.format(name)

    return find


Kind = Literal["user", "installed", "ember", "other", "end"] | Label


class Origins:
    """The origins of the operators of one recorded run, which the function with code ``end`` calls."""

    def __init__(self, end: CodeType) -> None:
        # By identity: comparing code objects takes long. They are kept alive, so that no identity is used again.
        self._kinds: dict[int, tuple[CodeType, Kind]] = {id(end): (end, "end")}
        # What was running when autograd made its nodes, by their numbers, which increase.
        self._numbers: list[int] = []
        self._origins: list[str] = []

    def of_current(self) -> str:
        """The origin of the operator that the caller is recording."""
        node = current_node()
        if node is not None:
            origin = self._of_backward(number_of(node))
        else:
            origin = self._of_frames(sys._getframe(3))
        number = next_number() - 1
        if not self._numbers or number > self._numbers[-1]:
            self._numbers.append(number)
            self._origins.append(origin)
        return origin

    def _of_backward(self, number: int) -> str:
        if not self._numbers or number > self._numbers[-1]:
            return "backward"
        # A node that was made without an operator of its own belongs to the one before it.
        index = bisect_right(self._numbers, number) - 1
        return "backward" if index < 0 else f"backward of {self._origins[index]}"

    def _of_frames(self, innermost: FrameType) -> str:
        line: FrameType | None = None
        label: str | None = None
        fallback: dict[str, FrameType] = {}
        frame: FrameType | None = innermost
        kinds = self._kinds
        # Some ten frames for each operator: no calls for those that have been seen.
        while frame is not None and (line is None or label is None):
            code = frame.f_code
            known = kinds.get(id(code))
            kind = self._kind(code) if known is None else known[1]
            if kind == "other":
                pass
            elif kind == "end":
                break
            elif kind == "user":
                line = line or frame
            elif not isinstance(kind, str):
                label = label or kind(frame, innermost)
                fallback.setdefault("ember", frame)
            else:
                fallback.setdefault(kind, frame)
            frame = frame.f_back
        if line is None and label is None:
            # No one's but Ember's own: the objective's sums, say.
            line = fallback.get("installed") or fallback.get("ember")
        return ", ".join(part for part in (_line(line), label) if part)

    def _kind(self, code: CodeType) -> Kind:
        kind = _classify(code)
        self._kinds[id(code)] = (code, kind)
        return kind


def _line(frame: FrameType | None) -> str:
    return "" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _classify(code: CodeType) -> Kind:
    marked = _LABELS.get(id(code))
    if marked is not None:
        return marked[1]
    file = code.co_filename
    # From the special to the general: installed packages may lie in the standard library's folder, and all in the user's.
    if file.startswith(("<", folders.TORCH, folders.CAPTURE)):
        return "other"
    if file.startswith(folders.EMBER):
        return "ember"
    if file.startswith(folders.PACKAGES):
        return "installed"
    return "other" if file.startswith(folders.STANDARD) else "user"
