"""Loops over the same rows in one pass give what they give one after another."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.c_writer import dots
from ember.capture.native.loops import sweep
from tests.capture.native.programs import QUICK, TOLERANCE, Compiled, assert_same, check, flags, without

LOOSE = {torch.float32: (1e-4, 1e-4), torch.float64: (1e-11, 1e-11)}
"""Sums are added up in another order."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sweep, "FEWEST_ROWS", 16)
    monkeypatch.setattr(pipeline, "VERIFY", True)
    with flags(*QUICK):
        yield


def sweeps(compiled: Compiled) -> int:
    return compiled.program.source.count(": one pass over")


def inputs(rows: int, columns: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows * columns)
    shapes = [(rows, columns), (columns,), (rows,)]
    return [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]


def regression(flat: list[Tensor]) -> list[Tensor]:
    """Predictor, likelihood, gradient, and a step."""
    x, w, y = flat
    logits = x @ w
    loss = torch.nn.functional.softplus(logits).sum() - (y * logits).sum()
    gradient = x.t() @ (torch.sigmoid(logits) - y)
    w.sub_(0.01 * gradient)
    return [loss, gradient.clone()]


@pytest.mark.parametrize("rows", [16, 255, 256, 257, 700])
@pytest.mark.parametrize("columns", [2, 3, 8, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_regression_is_one_pass(rows, columns, dtype):
    given = inputs(rows, columns, dtype)
    compiled = Compiled(regression, given)
    assert_same(compiled.outcome(given, 3), compiled.expected(given, 3), tolerance=LOOSE[dtype])
    assert sweeps(compiled) == 1


def test_what_is_needed_within_a_block_has_its_size(monkeypatch):
    monkeypatch.setattr(sweep, "FEWEST_CHUNKED_NS", math.inf)
    large, small = (Compiled(regression, inputs(rows, 4)).program for rows in (20_000, 2_000))
    assert large._arena.numel() == small._arena.numel() < 2_000 * 8


def reads_other_rows(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    z = x @ w
    return [(z.flip(0) * y).sum(), (z[1:] * y[:-1]).sum(), z.cumsum(0) * y]


def needs_the_sum(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    z = x @ w
    centred = z - z.mean()
    return [(centred * y).sum(), x.t() @ centred]


def twice(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    first = x.t() @ (x @ w - y)
    return [x.t() @ (x @ first - y), (x * x).sum(1) @ y]


def rows_of_rows(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    p = torch.softmax(x * w, dim=1)
    return [(p * x).sum(1) @ y, p.t() @ y, torch.logsumexp(x, 1).sum()]


def with_indices(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    group = (y > 0).long() + (y > 1).long()
    z = x @ w + torch.arange(3.0, dtype=y.dtype)[group]
    return [torch.zeros(3, dtype=y.dtype).index_add(0, group, z * y), x.t() @ z]


def written(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    z = x @ w
    y.add_(z)
    x.mul_(0.5)
    return [x.t() @ z, (y * z).sum()]


def extremes(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    z = x @ w
    return [(z * y).max(), x.amax(1) @ y, (x * z[:, None]).amin(0), (z > y).any(), (z.abs() + 1).prod()]


def by_position(flat: list[Tensor]) -> list[Tensor]:
    x, w, y = flat
    z = (x @ w) * torch.arange(len(y), dtype=y.dtype)
    return [z @ y, x.t() @ z]


PROGRAMS = {
    "other rows": reads_other_rows,
    "a sum first": needs_the_sum,
    "two in a row": twice,
    "softmax of rows": rows_of_rows,
    "indices": with_indices,
    "inputs written": written,
    "extremes": extremes,
    "positions": by_position,
    "drawn between": lambda f: [
        ((f[0] @ f[1]) * torch.randn_like(f[2])).sum(),
        f[0].t() @ torch.randn_like(f[2]),
    ],
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_programs(program, dtype, monkeypatch):
    compiled = Compiled(program, inputs(600, 6, dtype))
    tolerance = LOOSE[dtype]
    mine = compiled.outcome(inputs(600, 6, dtype), 2)
    assert_same(mine, compiled.expected(inputs(600, 6, dtype), 2), tolerance=tolerance)
    monkeypatch.setattr(pipeline, "PASSES", without("sweep"))
    plain = Compiled(program, inputs(600, 6, dtype))
    assert sweeps(plain) == 0
    assert_same(mine, plain.outcome(inputs(600, 6, dtype), 2), tolerance=tolerance)


def indexing(flat: list[Tensor]) -> list[Tensor]:
    """A regression with an offset for each group."""
    x, w, y, group = flat
    z = x @ w + y[group]
    loss = z.sum()
    w.sub_(0.01 * (x.t() @ z))
    return [loss]


def test_an_index_out_of_range_leaves_all_as_it_was():
    given = [*inputs(600, 4), torch.arange(600)]
    compiled = check(indexing, *given)
    assert sweeps(compiled) == 1
    given[3][577] = 600
    before = given[1].clone()
    with pytest.raises(IndexError):
        compiled.program(given)
    assert torch.equal(given[1], before)


class TestSumsOfProducts:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 33])
    def test_sizes(self, dtype, columns):
        for rows in (16, 23, 40):
            given = inputs(rows, columns, dtype)[:2]
            compiled = Compiled(lambda f: [f[0] @ f[1]], given)
            tolerance = (1e-5, 1e-5) if dtype is torch.float32 else (1e-14, 1e-14)
            assert_same(compiled.outcome(given), compiled.expected(given), tolerance=tolerance)
            assert ("ember_row_dots" in compiled.program.source) == (columns > 1)

    @pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
    @pytest.mark.parametrize("column", [0, 6, 7, 8, 12])
    def test_a_number_that_is_not_finite_counts_once(self, number, column):
        x, w, _ = inputs(40, 13, torch.float32)
        x[5, column] = number
        w[column] = 0.5
        (result,) = Compiled(lambda f: [f[0] @ f[1]], [x, w]).program([x, w])[1:]
        assert_same([result], [x @ w])

    def test_views(self):
        x, w, _ = inputs(64, 24)
        check(lambda f: [f[0][:, 3:16] @ f[1][5:18], f[0][::2, 1:9] @ f[1][:8], f[0].t() @ f[0][:, 0]], x, w)

    def test_long_rows_in_float32_are_as_exact_as_before(self):
        x, w = torch.rand(32, 5000), torch.ones(5000)
        compiled = check(lambda f: [f[0] @ f[1]], x, w)
        assert "ember_row_dots" not in compiled.program.source
        assert TOLERANCE and dots.FEWEST_ROWS == 16
