"""The table of Pyro's examples, and what of it the drop-in offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import ember.pyro
from ember.pyro import places

TABLE = Path(__file__).with_name("pyro-1.9.2.txt")


@dataclass
class Example:
    """One file.

    Attributes:
        file: below the folder of the examples.
        needs: "mcmc", "funsor", "download", or packages beside Pyro and torch.
        names: what it takes from each module of Pyro.
    """

    file: str
    needs: tuple[str, ...]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def entries(self) -> Iterator[tuple[str, str]]:
        """The modules, with each name."""
        for path, names in self.names.items():
            for name in names:
                yield path, name


def read(table: Path = TABLE) -> list[Example]:
    """The examples of a table.

    Args:
        table: lines ``file: needs``, below each indented lines ``module: names``; ``#`` begins a comment.

    Raises:
        ValueError: for a line without a colon, or names before the first file.
    """
    examples: list[Example] = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        head, colon, rest = line.partition(":")
        indented = line[0] == " "
        if not colon or (indented and not examples):
            raise ValueError(f"{table.name}, line {number}: expected 'file: needs' or '    module: names'")
        if indented:
            examples[-1].names[head.strip()] = tuple(rest.split())
        else:
            examples.append(Example(head, tuple(rest.split())))
    return examples


def stand_ins(example: Example) -> list[str]:
    """The names that import, and that say on use what there is instead."""
    names = [f"{path}.{name}" for path, name in example.entries()]
    return [name for name in names if any(f"{name}.".startswith(f"{absent}.") for absent in places.INSTEAD)]


def missing(example: Example) -> list[str]:
    """The names that cannot be imported under the drop-in."""
    with ember.pyro.installed():
        return [f"{path}.{name}" for path, name in example.entries() if not _offers(path, name)]


def _offers(path: str, name: str) -> bool:
    try:
        return hasattr(import_module(path), name)
    except ImportError:
        return False
