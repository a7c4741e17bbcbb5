"""Random numbers that a recording cannot see: those of Python's and NumPy's own generators, which a program would draw once."""

from __future__ import annotations

import random
import sys
from typing import Any

from ember.errors import CaptureMismatchError


def states() -> dict[str, Any]:
    """The states of the process-wide generators, by name."""
    found: dict[str, Any] = {"Python's random": random.getstate()}
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        found["numpy.random"] = numpy.get_state()
    return found


def drawn_since(before: dict[str, Any]) -> str:
    """The generator whose state is another now, or none."""
    now = states()
    return next((name for name, state in before.items() if _words(state) != _words(now[name])), "")


def put_back(before: dict[str, Any]) -> None:
    """Give the generators the states that they had."""
    random.setstate(before["Python's random"])
    if "numpy.random" in before:
        numpy: Any = sys.modules["numpy.random"]
        numpy.set_state(before["numpy.random"])


def _words(state: Any) -> list[Any]:
    return [part.tobytes() if hasattr(part, "tobytes") else part for part in state]


def draws_elsewhere(what: str) -> CaptureMismatchError:
    """Why a program that draws from Python's or NumPy's generators is not captured."""
    return CaptureMismatchError(
        f"the step cannot be captured: the program draws random numbers by {what}, once only while it is recorded\n"
        "The way out: draw with torch or ember.sample, or run eagerly (compile=False)."
    )


__all__ = ["draws_elsewhere", "drawn_since", "put_back", "states"]
