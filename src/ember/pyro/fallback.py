"""What Ember's modules answer, under the drop-in, for a name that they do not have.

A function ``__getattr__`` in the module (PEP 562) is asked only after the ordinary look-up has failed, so it
costs nothing where names exist. It looks for a submodule or a name of Pyro's that Ember has elsewhere, and
otherwise says what is missing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from ember.pyro import absent, constants, missing, places, surface
from ember.pyro.views import FirstHomes, offered

_HOOK = "__getattr__"
_STAR = "__all__"
_ABSENT = object()
_attached: dict[str, tuple[ModuleType, dict[str, Any]]] = {}


def attach(module: ModuleType, path: str) -> None:
    """Give ``module`` the answers of the drop-in; its own ``__getattr__``, if it has one, comes first.

    Args:
        module: one of Ember's modules.
        path: Pyro's path of it.
    """
    if module.__name__ in _attached:
        return
    before: Callable[[str], Any] | None = vars(module).get(_HOOK)
    given = {_HOOK: _answers(module, path, before), **_star(module, path)}
    _attached[module.__name__] = (module, {name: vars(module).get(name, _ABSENT) for name in given})
    vars(module).update(given)


def detach_all() -> None:
    """Take back every :func:`attach`."""
    for module, before in _attached.values():
        for name, value in before.items():
            if value is _ABSENT:
                delattr(module, name)
            else:
                setattr(module, name, value)
    _attached.clear()


def _star(module: ModuleType, path: str) -> dict[str, list[str]]:
    """What ``from path import *`` gives besides Ember's own names: Pyro's that are found elsewhere."""
    own = vars(module).get(_STAR, [name for name in vars(module) if not name.startswith("_")])
    more = surface.names_at(path).own.difference(own)
    return {_STAR: [*own, *sorted(more)]} if more else {}


def _elsewhere(path: str, module: ModuleType) -> tuple[str, ...]:
    package = module.__name__.rpartition(".")[0]
    beside = (package + ".*",) if "." in package and path not in places.NO_STAND_IN else ()
    return places.ALSO.get(path, ()) + beside


def _answers(module: ModuleType, path: str, before: Callable[[str], Any] | None) -> Callable[[str], Any]:
    first = FirstHomes(_elsewhere(path, module))

    def answer(name: str) -> Any:
        if before is not None:
            try:
                return before(name)
            except AttributeError:
                pass
        if name.startswith("__"):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        if offered(path, name) and (home := first.of(name)) is not None:
            return vars(home)[name]
        if absent.is_absent(path, name):
            return absent.placeholder(f"{path}.{name}")
        below = f"{path}.{name}"
        if surface.has_path(below):
            try:
                return import_module(below)
            except ModuleNotFoundError as error:
                if error.name != below:
                    raise
        for given in (constants.value_at, surface.passed_on):
            with contextlib.suppress(LookupError):
                return given(path, name)
        raise missing.error_for(sys._getframe(1), path, name, home=module.__name__)

    return answer
