"""Record: a plain dict whose known keys are attributes too, typed, over the same storage.

Programs, and handlers that users write, read and write sites as dicts; Ember itself reads and writes attributes. Both see
the same entries, since an attribute is nothing but a name for a key.
"""

from __future__ import annotations

import inspect
from operator import itemgetter
from typing import Any, TypeVar

from torch import Tensor

R = TypeVar("R", bound="Record")


class MissingEntryError(KeyError, AttributeError):
    """A record has no such entry; raised for keys and for attributes alike."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which is meant for keys.
        return str(self.args[0])


class Record(dict[str, Any]):
    """Base of records. What a subclass annotates becomes an attribute; other keys are reached as in any dict.

    >>> class Point(Record):
    ...     x: float
    >>> p = Point(x=1.0)
    >>> p.x = 2.0
    >>> p["x"], p
    (2.0, {'x': 2.0})
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        for name in inspect.get_annotations(cls):
            if name not in cls.__dict__:
                setattr(cls, name, _entry(name))

    def __missing__(self, key: str) -> Tensor:
        raise MissingEntryError(f"{self.label()} has no key {key!r}; it has: {', '.join(map(str, self))}")

    def label(self) -> str:
        """What error messages call it."""
        return type(self).__name__

    def copy(self: R) -> R:
        """A shallow copy."""
        return type(self)(self)


def _entry(key: str) -> property:
    def write(record: dict[str, Any], value: object) -> None:
        record[key] = value

    # Reading happens in C: an attribute costs little more than the key.
    return property(itemgetter(key), write, doc=f"The entry ``{key!r}``.")
