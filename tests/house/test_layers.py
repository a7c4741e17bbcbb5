"""The drawing: every arrow of a graph without cycles points down, and none is lost."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import pytest

from tools.house.layers import Layers, is_bend


@pytest.mark.parametrize("seed", range(8))
def test_arrows_point_down_one_rank_at_a_time(seed):
    graph = nx.gnp_random_graph(12, 0.3, seed=seed, directed=True)
    graph = nx.DiGraph((f"p.{a}", f"p.{b}") for a, b in graph.edges if a < b)
    layers = Layers.of(graph)
    rank = {node: i for i, row in enumerate(layers.ranks) for node in row}
    assert layers.upward == []
    assert all(rank[below] == rank[above] + 1 for path in layers.paths for above, below in pairwise(path))
    assert all(is_bend(node) for path in layers.paths for node in path[1:-1])
    drawn = nx.DiGraph((path[0], path[-1]) for path in layers.paths)
    assert set(nx.transitive_closure(drawn).edges) == set(nx.transitive_closure(graph).edges)


def test_a_cycle_is_shown():
    layers = Layers.of(nx.DiGraph([("p.a", "p.b"), ("p.b", "p.a"), ("p.a", "p.c")]))
    assert layers.upward == [("p.a", "p.b"), ("p.b", "p.a")]
    assert [(path[0], path[-1]) for path in layers.paths] == [("p.a", "p.c")]
