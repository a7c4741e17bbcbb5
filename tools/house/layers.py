"""Where to draw the boxes of a graph so that its arrows point down: ranks, and an order in each with few crossings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import networkx as nx

SWEEPS = 24


@dataclass(frozen=True)
class Layers:
    """Boxes by rank from the top, and each arrow as the boxes and bends that it passes on its way down."""

    ranks: list[list[str]]
    paths: list[list[str]]
    upward: list[tuple[str, str]]
    """Arrows inside a cycle; in a sound house there are none."""

    @classmethod
    def of(cls, graph: nx.DiGraph) -> Layers:
        """Lay out the arrows that are not implied by others."""
        upward = [
            edge
            for part in nx.strongly_connected_components(graph)
            for edge in graph.subgraph(part).edges
            if len(part) > 1
        ]
        sound = graph.copy()
        sound.remove_edges_from(upward)
        reduced = nx.transitive_reduction(sound)
        ranks, bends = _ranks(reduced), nx.DiGraph()
        bends.add_nodes_from(sorted(ranks, key=lambda room: (ranks[room], room)))
        paths = []
        for above, below in sorted(reduced.edges):
            passed = [f"{above}>{below}@{rank}" for rank in range(ranks[above] + 1, ranks[below])]
            ranks |= {bend: ranks[above] + 1 + i for i, bend in enumerate(passed)}
            paths.append([above, *passed, below])
            nx.add_path(bends, paths[-1])
        rows = [[node for node in bends if ranks[node] == rank] for rank in range(max(ranks.values()) + 1)]
        return cls(_few_crossings(rows, bends), paths, sorted(upward))


def is_bend(node: str) -> bool:
    """Whether this is a place that an arrow passes, and no box."""
    return "@" in node


def _ranks(graph: nx.DiGraph) -> dict[str, int]:
    # From the bottom: what much rests on lies deep, and what nobody imports is at most one above what it imports.
    height: dict[str, int] = {}
    for node in reversed(list(nx.topological_sort(graph))):
        height[node] = 1 + max((height[below] for below in graph.successors(node)), default=-1)
    top = max(height.values())
    return {node: top - level for node, level in height.items()}


def _few_crossings(rows: list[list[str]], graph: nx.DiGraph) -> list[list[str]]:
    best, fewest = rows, _crossings(rows, graph)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        rows = [list(row) for row in rows]
        for i in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed = {node: place for place, node in enumerate(rows[i - 1 if down else i + 1])}
            neighbours = graph.predecessors if down else graph.successors
            rows[i] = _by_middle(rows[i], {node: [fixed[n] for n in neighbours(node)] for node in rows[i]})
        crossings = _crossings(rows, graph)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _by_middle(row: list[str], places: dict[str, list[int]]) -> list[str]:
    middle = {node: sum(where) / len(where) if where else row.index(node) for node, where in places.items()}
    return sorted(row, key=middle.__getitem__)


def _crossings(rows: list[list[str]], graph: nx.DiGraph) -> int:
    count = 0
    for upper, lower in itertools.pairwise(rows):
        place = {node: i for i, node in enumerate(lower)}
        ends = [
            place[below]
            for above in upper
            for below in sorted(graph.successors(above), key=place.__getitem__)
        ]
        count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return count
