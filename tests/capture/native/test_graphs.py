"""Random functions of tensors give torch's numbers, for several steps in a row."""

from __future__ import annotations

import pytest
from torch import Tensor

from ember.capture.native.c_writer import dots
from ember.capture.native.loops import flatten, hoist, recompute, shrink, sweep, turn
from tests.capture.native import random_graphs
from tests.capture.native.programs import QUICK, Compiled, assert_same, flags

PROGRAMS, GRAPHS = 14, 20


@pytest.fixture(params=["as it is", "all passes"])
def thresholds(request, monkeypatch):
    """With passes that are kept for large values working on small ones, too."""
    if request.param == "all passes":
        monkeypatch.setattr(shrink, "FEWEST_SAVED", 1)
        monkeypatch.setattr(hoist, "TIMES_DEARER", 0)
        monkeypatch.setattr(hoist, "LEAST_NS", 0)
        monkeypatch.setattr(recompute, "LEAST_BYTES", 1)
        monkeypatch.setattr(recompute, "LEAST_PASSES", -100)
        monkeypatch.setattr(sweep, "FEWEST_ROWS", 2)
        monkeypatch.setattr(sweep, "MOST_BLOCK_ROWS", 2)
        monkeypatch.setattr(flatten, "FEWEST_ELEMENTS", 2)
        monkeypatch.setattr(flatten, "LEAST_GAIN", 0)
        monkeypatch.setattr(turn, "FEWEST", 2)
        monkeypatch.setattr(dots, "FEWEST_ROWS", 1)


@pytest.mark.filterwarnings("ignore:.*non-writable.*")
@pytest.mark.parametrize("number", range(PROGRAMS))
@pytest.mark.usefixtures("thresholds")
def test_random_graphs(number):
    """20 at once, each with inputs of its own; one step, and three in a row."""
    graphs = [random_graphs.Graph(100 * number + k) for k in range(GRAPHS)]
    counts = [2 + k % 4 for k in range(GRAPHS)]
    inputs = [t for k, count in enumerate(counts) for t in random_graphs.inputs(count, 100 * number + k)]
    labels: list[str] = []

    def every(flat: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        labels.clear()
        at = 0
        for graph, count in zip(graphs, counts, strict=True):
            results = graph(flat[at : at + count])
            at += count
            outputs += results
            labels.extend([f"graph {graph.seed}"] * len(results))
        labels.extend(f"input {n}" for n in range(len(flat)))
        return outputs

    with flags(*QUICK):
        compiled = Compiled(every, inputs)
    for steps in (1, 3):
        expected = compiled.expected(inputs, steps)
        assert_same(compiled.outcome(inputs, steps), expected, labels, (1e-9, 1e-11))
