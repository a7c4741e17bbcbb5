"""Whether anything in an optimizer may have changed since it was looked at last: one number to compare.

Options and state live in dicts that count their changes, so that a captured step need not compare them all before each call.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar

from torch import Tensor

K = TypeVar("K")
V = TypeVar("V")


class Changes:
    """How often something has changed in one optimizer."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def note(self) -> None:
        """Make what was noted before this invalid."""
        self.number += 1


class Watched(dict[K, V]):
    """A dict that counts its changes. Copies and pickles of it are plain dicts.

    >>> changes = Changes()
    >>> options = Watched({"lr": 0.1}, changes)
    >>> options["lr"] = 0.1
    >>> changes.number
    0
    >>> options["lr"] = 0.2
    >>> changes.number
    1
    """

    __slots__ = ("changes",)

    def __init__(self, content: Mapping[K, V], changes: Changes) -> None:
        super().__init__(content)
        self.changes = changes

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self or not _is_same(self[key], value):
            self.changes.note()
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        self.changes.note()
        super().__delitem__(key)

    def __ior__(self, other: Any) -> Watched[K, V]:  # type: ignore[override, misc]
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: K, default: Any = None) -> V:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, *args: Any) -> Any:
        self.changes.note()
        return super().pop(*args)

    def popitem(self) -> tuple[K, V]:
        self.changes.note()
        return super().popitem()

    def clear(self) -> None:
        self.changes.note()
        super().clear()

    def copy(self) -> dict[K, V]:
        return dict(self)

    def __copy__(self) -> dict[K, V]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[K, V]:
        return deepcopy(dict(self), memo)

    def __reduce__(self) -> Any:
        # An ordered dict is what torch.load reads without being told to trust the file.
        return OrderedDict, (), None, None, iter(self.items())


class States(Watched[Tensor, Watched[str, Any]]):
    """What a torch optimizer has as ``state``: by parameter, state by name, made when it is asked for."""

    __slots__ = ()

    def __init__(self, content: Mapping[Tensor, Mapping[str, Any]], changes: Changes) -> None:
        super().__init__({key: Watched(values, changes) for key, values in content.items()}, changes)

    def __missing__(self, key: Tensor) -> Watched[str, Any]:
        empty: Watched[str, Any] = Watched({}, self.changes)
        super().__setitem__(key, empty)
        return empty

    def __setitem__(self, key: Tensor, value: Mapping[str, Any]) -> None:
        super().__setitem__(key, value if isinstance(value, Watched) else Watched(value, self.changes))

    def __reduce__(self) -> Any:
        return defaultdict, (dict,), None, None, iter(self.items())


def _is_same(old: object, new: object) -> bool:
    return old is new or (type(old) is float and type(new) is float and old == new)
