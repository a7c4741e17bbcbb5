"""Random numbers that a recording cannot see: those of Python's and NumPy's own generators, which a program would draw once."""

from __future__ import annotations

import random
import sys
from typing import Any

from ember.errors import CaptureMismatchError


def states() -> dict[str, Any]:
    """The states of the process-wide generators, by name; they compare equal where nothing was drawn."""
    found: dict[str, Any] = {"Python's random": random.getstate()}
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        name, keys, *rest = numpy.get_state()
        found["numpy.random"] = (name, keys.tobytes(), *rest)
    return found


def drawn_since(before: dict[str, Any]) -> str:
    """The generator whose state is another now, or none."""
    now = states()
    return next((name for name, state in now.items() if name in before and state != before[name]), "")


def draws_elsewhere(what: str) -> CaptureMismatchError:
    """Why a program that draws from Python's or NumPy's generators is not captured."""
    return CaptureMismatchError(
        f"the step cannot be captured: the program draws random numbers by {what}, once only while it is recorded\n"
        "The way out: draw with torch or ember.sample, or run eagerly (compile=False)."
    )


__all__ = ["draws_elsewhere", "drawn_since", "states"]
