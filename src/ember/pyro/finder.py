"""The import hook: ``pyro`` and every path below it are handed out as Ember's own module objects."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ember.pyro import constants, fallback, missing, places, surface
from ember.pyro.absent import Absent
from ember.pyro.views import View, homes

ROOT = "pyro"


def _below(name: str, root: str) -> bool:
    return name == root or name.startswith(root + ".")


def ember_name(path: str) -> str:
    """The Ember module that is, or would be, at a path of Pyro's: moved parents are followed."""
    head, tail = path, ""
    while head not in places.MOVED:
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return places.MOVED[head] + tail


def pyro_path(name: str) -> str:
    """Where a module of Ember's is under the drop-in: Pyro's path if it has one, else the same below ``pyro``."""
    return next(
        (path for path, home in places.MOVED.items() if home == name), ROOT + name.removeprefix("ember")
    )


def is_hidden(name: str) -> bool:
    """Whether an Ember module has no place under ``pyro``."""
    return any(_below(name, hidden) for hidden in places.HIDDEN)


def _exists(name: str) -> bool:
    try:
        return name in sys.modules or find_spec(name) is not None
    except ModuleNotFoundError:  # the package above is missing, or is a module
        return False


def _stand_in(path: str) -> tuple[str, ...]:
    """Sources of a view for a path that Ember lacks, if the package above has what Pyro has there."""
    if not surface.has_path(path) or path in places.NO_STAND_IN:
        return ()
    package = ember_name(path).rpartition(".")[0]
    if "." not in package or not _exists(package):  # the root would offer everything
        return ()
    sources = (package + ".*",)
    own = [name for name in surface.names_at(path).own if not constants.has(path, name)]
    # One name alone may be a chance: most of them make it the same module, cut otherwise.
    return sources if 2 * sum(bool(homes(name, sources)) for name in own) > len(own) else ()


def sources_of(path: str) -> tuple[str, ...]:
    """The Ember modules of a view at that path; empty if there is to be none."""
    if path in places.VIEWS:
        own = surface.names_at(path).own
        sources = places.VIEWS[path]
        return sources if any(homes(name, sources) for name in own) else ()
    return _stand_in(path)


def locate(path: str) -> ModuleType | None:
    """The module for a path of Pyro's: Ember's own, or a new view, or None."""
    if path not in places.VIEWS:
        name = ember_name(path)
        if not is_hidden(name) and _exists(name):
            return import_module(name)
    sources = sources_of(path)
    if sources:
        return View(path, sources)
    if surface.has_path(path) and any(_below(path, absent) for absent in places.ABSENT):
        return Absent(path)
    return None


@cache
def importable_below(parent: str) -> tuple[str, ...]:
    """The paths below one of Pyro's that can be imported; for the texts of errors."""
    near = (path for path in surface.paths() if _below(path, parent) and path != parent)
    return tuple(p for p in near if (p not in places.VIEWS and _exists(ember_name(p))) or sources_of(p))


class _Loader(Loader):
    """Hands an existing module to the import machinery and undoes what that writes into it."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec: Any = getattr(module, "__spec__", None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The machinery has put the alias's spec in. Ember's modules keep their own: reload, pickle and
        # relative imports go by it. A module that was made here has no other, and keeps this one.
        if not isinstance(module, View | Absent):
            path = module.__spec__.name if module.__spec__ is not None else ROOT
            module.__spec__ = self._spec
            fallback.attach(module, path)


class Finder(MetaPathFinder):
    """Answers for ``pyro`` and below, whether or not another package of that name is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of an alias or a view.

        Raises:
            ModuleNotFoundError: for an import of a path that Ember does not have; says what there is. A mere
                look-up (``importlib.util.find_spec``) gets None instead.
        """
        if not _below(fullname, ROOT):
            return None
        module = locate(fullname)
        if module is not None:
            return ModuleSpec(fullname, _Loader(module), is_package=hasattr(module, "__path__"))
        # The caller's caller is importlib's own import, or a function that only looks.
        asked_by = sys._getframe(2).f_globals.get("__name__")
        if asked_by == "importlib.util":
            return None
        there = importable_below(fullname.rpartition(".")[0])
        raise ModuleNotFoundError(missing.path_message(fullname, there), name=fullname)
