"""What one scope of a store holds, and the number that tells whether it has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import ParamSpec, TypeVar

from torch import Tensor
from torch.distributions.constraints import Constraint

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
P = ParamSpec("P")

_NUMBERS = count(1)


class Version:
    """A number that no other contents have, or had, in this process; a new one after every change."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = next(_NUMBERS)

    def advance(self) -> None:
        """Take the next number."""
        self.number = next(_NUMBERS)


_CHANGES = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")


def _counted(change: Callable[P, R]) -> Callable[P, R]:
    def changed(*args: P.args, **kwargs: P.kwargs) -> R:
        # Afterwards: who reads the number first and the contents then may have newer contents, never older ones.
        try:
            return change(*args, **kwargs)
        finally:
            args[0].version.advance()  # type: ignore[attr-defined]

    return changed


class CountedDict(dict[K, V]):
    """A dict whose changes advance a version; copies of it are plain dicts."""

    __slots__ = ("version",)

    def __init__(self, version: Version) -> None:
        super().__init__()
        self.version = version

    def __reduce__(self) -> tuple[type[dict[K, V]], tuple[dict[K, V]]]:
        return dict, (dict(self),)


for _name in _CHANGES:
    setattr(CountedDict, _name, _counted(getattr(dict, _name)))


class Contents:
    """The records of one scope of a store; insertion order is the order of the parameters."""

    __slots__ = ("constraints", "leaves", "names", "transforms", "version")

    def __init__(self) -> None:
        self.version = Version()
        self.leaves: CountedDict[str, Tensor] = CountedDict(self.version)
        self.names: CountedDict[Tensor, str] = CountedDict(self.version)
        self.constraints: CountedDict[str, Constraint] = CountedDict(self.version)
        # Computed from the constraints: no fact of its own.
        self.transforms: dict[str, tuple[Constraint, Callable[[Tensor], Tensor]]] = {}


class ContentsByThread(threading.local):
    """The contents that are active in this thread: the shared ones, until a thread replaces its own."""

    def __init__(self, shared: Contents) -> None:
        self.contents = shared


__all__ = ["Contents", "ContentsByThread", "CountedDict", "Version"]
