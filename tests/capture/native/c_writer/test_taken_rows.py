"""Rows taken where indices lead: the index is read once for a row, and rows of large arrays are asked for ahead."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.c_writer import nest
from ember.capture.native.loops import sweep
from tests.capture.native.programs import QUICK, check, flags

aten = torch.ops.aten


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(nest, "LARGE", 64)
    monkeypatch.setattr(pipeline, "VERIFY", True)
    with flags(*QUICK):
        yield


def source(rows: int = 300, columns: int = 10) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))


def places(count: int, rows: int = 300, low: int = 0) -> Tensor:
    return torch.randint(low, rows, (count,), generator=torch.Generator().manual_seed(count))


def regression(flat: list[Tensor]) -> list[Tensor]:
    x, y, w, rows = flat
    x, y = x.index_select(0, rows), y.index_select(0, rows)
    logits = x @ w
    gradient = x.t() @ (torch.sigmoid(logits) - y)
    w.sub_(0.01 * gradient)
    return [torch.nn.functional.softplus(logits).sum(), gradient.clone()]


@pytest.mark.parametrize("count", [64, 129, 500])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_rows_of_a_regression(count: int, in_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "FEWEST_ROWS", 16 if in_blocks else 10**9)
    x = source()
    compiled = check(regression, x, x[:, 0].clone(), torch.ones(10, dtype=torch.float64), places(count))
    assert "ember_fetch(" in compiled.program.source
    assert (": one pass over" in compiled.program.source) == in_blocks


WAYS = {
    "columns": lambda f: [f[0].index_select(1, f[1][:70] % 10) * 2],
    "from the end": lambda f: [f[0][f[1] - 300] + 1],
    "of rows and columns": lambda f: [f[0][f[1], f[1] % 10]],
    "of three dims": lambda f: [f[0].view(300, 5, 2)[f[1]] - 3],
    "of a view": lambda f: [f[0][5:200, 3:].index_select(0, f[1] % 195).exp()],
    "across": lambda f: [f[0].t().contiguous().index_select(1, f[1]) * 2],
    "an embedding": lambda f: [aten.embedding(f[0], f[1]).sin()],
    "indices that are computed": lambda f: [f[0].index_select(0, (f[1] * 7 + 1) % 300) * f[1][:, None]],
    "put": lambda f: [f[0].index_add(0, f[1], torch.ones_like(f[0])[f[1]].cos())],
    "few": lambda f: [f[0].index_select(0, f[1][:3]) * 2],
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_take_rows(way: str) -> None:
    check(WAYS[way], source(), places(140))


@pytest.mark.parametrize("bad", [-1, 300, 2**62])
def test_an_index_out_of_range_raises(bad: int) -> None:
    compiled = check(lambda f: [f[0].index_select(0, f[1]) * 2], source(), places(100))
    rows = places(100)
    rows[77] = bad
    with pytest.raises(IndexError):
        compiled.program([source(), rows])
