"""Names of Pyro's that import, and that say on use what there is instead.

Programs import samplers at their top and use them in one branch only, or ask whether an object is one of
them. So the name is a class: it can be imported, subclassed and tested for, and only making one is an error.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from functools import cache
from types import ModuleType
from typing import Any, Never

from ember.pyro import missing, places, surface


class _Absent(ABCMeta):
    """The class of placeholders: a call of one raises, and so does asking it for what a class would have."""

    absent_path: str
    instead: str

    def __call__(cls, *args: object, **kwargs: object) -> Never:
        raise NotImplementedError(f"{cls.absent_path!r} is not in Ember. Instead: {cls.instead}.")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{cls.absent_path!r} is not in Ember and has no {name!r}. Instead: {cls.instead}."
        )


@cache
def placeholder(path: str) -> type:
    """The class that stands for a name.

    Args:
        path: Pyro's path of the name; it or one of its parents is in the table of what there is instead.
    """
    where = next(
        parent for n in range(path.count(".") + 1) if (parent := path.rsplit(".", n)[0]) in places.INSTEAD
    )
    module, _, name = path.rpartition(".")
    body = {"__module__": module, "absent_path": path, "instead": places.INSTEAD[where]}
    return _Absent(name, (), {**body, "__doc__": f"Not in Ember. Instead: {places.INSTEAD[where]}."})


def is_absent(path: str, name: str) -> bool:
    """Whether a name is one that Ember has as a placeholder only."""
    return f"{path}.{name}" in places.INSTEAD and surface.names_at(path).has(name)


class Absent(ModuleType):
    """A module of Pyro's that Ember does not carry: its names are placeholders, all else it imports is there."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "A module of Pyro's whose names import, and say on use what there is instead.")
        self.__path__: list[str] = []
        self.__all__ = sorted(surface.names_at(path).own)

    def __getattr__(self, name: str) -> Any:
        names = surface.names_at(self.__name__)
        if name in names.own:
            return self._keep(name, placeholder(f"{self.__name__}.{name}"))
        if name in names.passed_on:
            return self._keep(name, surface.passed_on(self.__name__, name))
        if name.startswith("__"):
            raise AttributeError(name)
        raise missing.error_for(sys._getframe(1), self.__name__, name, existing=names.own)

    def _keep(self, name: str, value: Any) -> Any:
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *surface.names_at(self.__name__).own})
