"""Views: modules at a path of Pyro's whose names live elsewhere in Ember.

A view holds nothing. A name is read from the Ember module where it lives, every time, and assignment goes
there too, so that a program that replaces ``pyro.infer.util.torch_item`` replaces what Ember itself uses.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ember.pyro import constants, missing, places, surface

_ABSENT = object()


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def load_if_there(name: str) -> ModuleType | None:
    """The Ember module of that name, imported if need be, or None if there is none."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    try:
        return import_module(name) if find_spec(name) is not None else None
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):  # the package above is missing
            return None
        raise


def modules_in(source: str) -> Iterator[ModuleType]:
    """The modules that a source in the table of places stands for.

    Args:
        source: a module's name; with ``.*`` at the end, that package and every imported module of it.
    """
    root = source.removesuffix(".*")
    module = load_if_there(root)
    if module is None:
        return
    yield module
    if source.endswith(".*"):
        prefix = root + "."
        # Modules under another name, such as the aliases and views below "pyro", are not Ember's own.
        below = sorted(name for name in sys.modules if name.startswith(prefix))
        yield from (m for name in below if (m := sys.modules[name]).__name__ == name)


def homes(name: str, sources: tuple[str, ...]) -> list[ModuleType]:
    """Where a name lives: the first module that has it, then all others that hold the same function or class."""
    modules = [module for source in sources for module in modules_in(source) if not isinstance(module, View)]
    first = next((module for module in modules if name in vars(module)), None)
    if first is None:
        return []
    value = vars(first)[name]
    if not hasattr(value, "__module__"):  # a plain value, such as True, may be the same by chance
        return [first]
    return [first] + [m for m in modules if m is not first and vars(m).get(name, _ABSENT) is value]


class FirstHomes:
    """The first home of each name that programs read, looked for anew when modules have come or gone.

    Args:
        sources: as for :func:`modules_in`.
    """

    def __init__(self, sources: tuple[str, ...]) -> None:
        self._sources = sources
        self._known: dict[str, tuple[int, ModuleType | None]] = {}

    def of(self, name: str) -> ModuleType | None:
        """The module to read a name from; None if there is none."""
        count, home = self._known.get(name, (0, None))
        if count != len(sys.modules) or (home is not None and name not in vars(home)):
            home = next(iter(homes(name, self._sources)), None)
            # Looking may have imported some.
            self._known[name] = len(sys.modules), home
        return home


def offered(path: str, name: str) -> bool:
    """Whether a name may be looked for elsewhere on behalf of a path: one that Pyro has or had, or private."""
    return name.startswith("_") or surface.names_at(path).has(name) or name in places.EARLIER.get(path, ())


class View(ModuleType):
    """A module that reads from and writes to other modules; deleting a name takes back what was written.

    Public names are those that Pyro has or had at the path; private ones are found wherever a source has them.
    """

    def __init__(self, path: str, sources: tuple[str, ...]) -> None:
        super().__init__(path, f"Ember's names at Pyro's path {path!r}, from {', '.join(sources)}.")
        # Not through __setattr__, which writes to the sources.
        vars(self).update(__ember_sources__=sources, __ember_before__={}, __ember_first__=FirstHomes(sources))

    def _looks_for(self, name: str) -> bool:
        path = vars(self)["__name__"]
        # Where Pyro imports a module, a module of Ember's may have the same name.
        is_module = surface.names_at(path).passed_on.get(name, "").endswith(":")
        return not _is_dunder(name) and not is_module and offered(path, name)

    def _homes(self, name: str) -> list[ModuleType]:
        return homes(name, vars(self)["__ember_sources__"]) if self._looks_for(name) else []

    def __getattr__(self, name: str) -> Any:
        if _is_dunder(name):
            raise AttributeError(name)
        first: FirstHomes = vars(self)["__ember_first__"]
        home = first.of(name) if self._looks_for(name) else None
        if home is not None:
            return vars(home)[name]
        for given in (constants.value_at, surface.passed_on):
            with contextlib.suppress(LookupError):
                return given(self.__name__, name)
        raise missing.error_for(sys._getframe(1), self.__name__, name, existing=self.__dir__())

    def __setattr__(self, name: str, value: Any) -> None:
        found = self._homes(name)
        if not found:
            super().__setattr__(name, value)
            return
        vars(self)["__ember_before__"].setdefault(name, [(home, vars(home)[name]) for home in found])
        for home in found:
            setattr(home, name, value)

    def __delattr__(self, name: str) -> None:
        # Tools that replace a name for a while (mock.patch, pytest's monkeypatch) see that the view does not
        # hold it, and undo an assignment by deletion: what was there before shows again.
        before = vars(self)["__ember_before__"].pop(name, None)
        if before is None:
            super().__delattr__(name)
            return
        for home, value in before:
            setattr(home, name, value)

    def __dir__(self) -> list[str]:
        names = surface.names_at(self.__name__)
        path = self.__name__
        there = {n for n in (*names.own, *names.passed_on) if constants.has(path, n) or self._homes(n)}
        return sorted(there | {name for name in vars(self) if not _is_dunder(name)})

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)

    @property
    def __all__(self) -> list[str]:
        return self.__dir__()
