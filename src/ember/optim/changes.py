"""Whether anything in any optimizer may have changed since it was looked at last: one number to compare.

Options of optimizers live in dicts that note their changes, so that a captured step need not compare them all before each call.
"""

from __future__ import annotations

from itertools import count
from typing import Any

_NUMBERS = count(1)


class _Changes:
    """How often something has changed, in the whole process."""

    number = 0


CHANGES = _Changes()


def note_change() -> None:
    """Make what was noted before this invalid."""
    CHANGES.number = next(_NUMBERS)


class Options(dict[str, Any]):
    """The options of one parameter, in torch's form; every change is noted.

    >>> options = Options(lr=0.1)
    >>> before = CHANGES.number
    >>> options["lr"] = 0.2
    >>> CHANGES.number == before
    False
    """

    def __setitem__(self, key: str, value: Any) -> None:
        note_change()
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        note_change()
        super().__delitem__(key)

    def __ior__(self, other: Any) -> Options:  # type: ignore[override, misc]
        note_change()
        super().update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        note_change()
        super().update(*args, **kwargs)

    def setdefault(self, key: str, default: Any = None) -> Any:
        note_change()
        return super().setdefault(key, default)

    def pop(self, *args: Any) -> Any:
        note_change()
        return super().pop(*args)

    def popitem(self) -> tuple[str, Any]:
        note_change()
        return super().popitem()

    def clear(self) -> None:
        note_change()
        super().clear()
