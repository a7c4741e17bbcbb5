"""What Pyro 1.9.2 has where: the module paths, and in each the public names.

Read from a table beside this file, only when a path or a name is looked for that Ember does not have in the
same place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, reduce
from importlib import import_module
from importlib.resources import files
from typing import Any

_TABLE = "surface-1.9.2.txt"


@dataclass(frozen=True)
class Names:
    """The public names of one Pyro module.

    Attributes:
        own: what it defines, or offers as its own.
        passed_on: what it only imports: name -> ``HOME:NAME_THERE``, the module and the name in it.
    """

    own: frozenset[str] = frozenset()
    passed_on: dict[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a program can read that name there."""
        return name in self.own or name in self.passed_on


_NO_NAMES = Names()


def _passed_on(entry: str) -> tuple[str, str]:
    name, _, home = entry.partition("@")
    return name, home if ":" in home else f"{home}:{name}"


@cache
def _table() -> dict[str, Names]:
    rows = {}
    for line in files("ember.pyro").joinpath(_TABLE).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        path, _, names = line.partition(":")
        own, _, passed_on = names.partition("|")
        rows[path] = Names(frozenset(own.split()), dict(map(_passed_on, passed_on.split())))
    return rows


def has_path(path: str) -> bool:
    """Whether Pyro has a module of that path, such as ``pyro.infer.svi``."""
    return path in _table()


def names_at(path: str) -> Names:
    """The public names that Pyro has in a module; none for a path that it does not have."""
    return _table().get(path, _NO_NAMES)


def passed_on(path: str, name: str) -> Any:
    """What Pyro's module imports under that name: another package's object, or a name of Pyro's elsewhere.

    Args:
        path: Pyro's path of the module.
        name: a public name.

    Raises:
        LookupError: if it imports nothing of that name, or it is not there in what is installed.
    """
    home, _, there = names_at(path).passed_on.get(name, ":").partition(":")
    if not home:
        raise LookupError(f"{path!r} passes on no {name!r}")
    try:
        module = import_module(home)
        return reduce(getattr, there.split("."), module) if there else module
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{path!r} passes on {name!r}, which is not there: {error}") from error


def paths() -> list[str]:
    """All module paths, sorted."""
    return sorted(_table())


def paths_of(name: str) -> list[str]:
    """The modules that define a public name, shortest path first."""
    return sorted((path for path, names in _table().items() if name in names.own), key=lambda p: (len(p), p))
