"""What Pyro 1.9.2 has where: the module paths, and in each the public names.

Read from a table beside this file, only when a path or a name is looked for that Ember does not have in the
same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TABLE = "surface-1.9.2.txt"


@dataclass(frozen=True)
class Names:
    """The public names of one Pyro module."""

    own: frozenset[str]
    passed_on: frozenset[str]

    def has(self, name: str) -> bool:
        """Whether a program can read that name there."""
        return name in self.own or name in self.passed_on


_NO_NAMES = Names(frozenset(), frozenset())


@cache
def _table() -> dict[str, Names]:
    rows = {}
    for line in files("ember.pyro").joinpath(_TABLE).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        path, _, names = line.partition(":")
        own, _, passed_on = names.partition("|")
        rows[path] = Names(frozenset(own.split()), frozenset(passed_on.split()))
    return rows


def has_path(path: str) -> bool:
    """Whether Pyro has a module of that path, such as ``pyro.infer.svi``."""
    return path in _table()


def names_at(path: str) -> Names:
    """The public names that Pyro has in a module; none for a path that it does not have."""
    return _table().get(path, _NO_NAMES)


def paths() -> list[str]:
    """All module paths, sorted."""
    return sorted(_table())


def paths_of(name: str) -> list[str]:
    """The modules that define a public name, shortest path first."""
    return sorted((path for path, names in _table().items() if name in names.own), key=lambda p: (len(p), p))
