"""A name of torch that is not public: looked up and tried once, with what takes its place where torch lacks it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
logger = logging.getLogger("ember.capture")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One name, and what Ember does without it.

    Args:
        name: where it is, from ``torch`` on.
        check: tries it, in microseconds and without a trace; raises an error, or returns False, where it is not what Ember knows.
        otherwise: what takes its place.
        instead: the same in words.
        needed: whether steps cannot be captured without it, because nothing public tells the same.
    """

    name: str
    check: Callable[[T], object]
    otherwise: T
    instead: str
    needed: bool = False

    def find(self) -> tuple[T, str]:
        """Torch's object and "", or what takes its place and why."""
        try:
            found = _resolved(self.name)
            if self.check(found) is False:
                return self.otherwise, "it answers in another way than it did"
        except Exception as error:
            return self.otherwise, _first_line(error)
        return found, ""


@dataclass(frozen=True)
class Loss:
    """An entry that this torch lacks."""

    entry: Entry[Any]
    reason: str

    def __str__(self) -> str:
        return f"{self.entry.name} is not usable ({self.reason}); instead: {self.entry.instead}"


ENTRIES: list[Entry[Any]] = []
LOSSES: list[Loss] = []
"""Entries of this process, and those that torch lacks: ``python -m ember`` shows them."""


def entry_point(entry: Entry[T]) -> T:
    """What to call: torch's own where it is sound. Said once, when Ember is imported; there is no cost at the call."""
    found, reason = entry.find()
    ENTRIES.append(entry)
    if reason:
        LOSSES.append(Loss(entry, reason))
    return found


def lose(entry: Entry[Any], error: Exception) -> None:
    """Note an entry that has failed when it was used; once."""
    if not any(loss.entry is entry for loss in LOSSES):
        LOSSES.append(Loss(entry, _first_line(error)))
        logger.warning("%s", LOSSES[-1])


def missing_for_capture() -> str:
    """Why no step can be captured with this torch; "" if it can."""
    return "; ".join(str(loss) for loss in LOSSES if loss.entry.needed)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _resolved(name: str) -> Any:
    """The object behind a dotted name: modules are imported, what hangs on them is read."""
    parts = name.split(".")
    found: Any = import_module(parts[0])
    for position, part in enumerate(parts[1:], start=2):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            with suppress(ModuleNotFoundError):
                import_module(".".join(parts[:position]))
        found = getattr(found, part)
    return found
