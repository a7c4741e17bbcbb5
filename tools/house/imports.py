"""Who imports whom: cycles between modules and between rooms. Imports in function bodies and under TYPE_CHECKING count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grimp
import networkx as nx


@dataclass(frozen=True)
class Imports:
    """The modules of a package, and an arrow from each to those that it imports."""

    package: str
    arrows: nx.DiGraph

    @classmethod
    def of(cls, root: Path) -> Imports:
        """Read the source of a package, given by its folder; nothing of it runs."""
        package = root.name
        with _first_in_path(root.parent):
            graph = grimp.build_graph(package, cache_dir=None)
        arrows = nx.DiGraph()
        arrows.add_nodes_from(sorted(graph.modules))
        for module in graph.modules:
            arrows.add_edges_from(
                (module, other) for other in graph.find_modules_directly_imported_by(module)
            )
        return cls(package, arrows)

    def module_cycles(self) -> list[list[str]]:
        """The groups of modules that import one another, directly or not."""
        return _cycles(self.arrows)

    def room_cycles(self) -> list[list[str]]:
        """The same between neighbours in one folder, a folder below it counting as one."""
        return [cycle for folder in self._folders() for cycle in _cycles(self.rooms(folder))]

    def rooms(self, folder: str) -> nx.DiGraph:
        """The files and folders of a folder, and the imports between them; ``folder`` is written as a module."""
        rooms = nx.DiGraph()
        inside = [module for module in self.arrows if module.startswith(f"{folder}.")]
        rooms.add_nodes_from(_room(folder, module) for module in inside)
        for module in inside:
            for other in self.arrows.successors(module):
                if other.startswith(f"{folder}.") and _room(folder, module) != _room(folder, other):
                    rooms.add_edge(_room(folder, module), _room(folder, other))
        return rooms

    def below(self, module: str) -> set[str]:
        """All that a module imports, directly or not, itself left out."""
        return set(nx.descendants(self.arrows, module)) if module in self.arrows else set()

    def _folders(self) -> Iterator[str]:
        parents = {module.rpartition(".")[0] for module in self.arrows}
        return iter(sorted(parents - {""}))


@contextmanager
def _first_in_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _room(folder: str, module: str) -> str:
    return f"{folder}.{module[len(folder) + 1 :].split('.')[0]}"


def _cycles(graph: nx.DiGraph) -> list[list[str]]:
    return sorted(sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1)
