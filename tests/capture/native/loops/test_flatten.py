"""Loops over short rows give what they give row by row when a tile of rows is gone over as one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.c_writer import accumulation
from ember.capture.native.loops import flatten, sweep
from tests.capture.native.programs import QUICK, Compiled, assert_same, check, flags, without

LOOSE = {torch.float32: (1e-4, 1e-4), torch.float64: (1e-11, 1e-11)}
"""Sums are added up in another order."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(flatten, "LEAST_GAIN", 0)
    monkeypatch.setattr(pipeline, "VERIFY", True)
    # Else what no step changes is computed before the first one.
    monkeypatch.setattr(pipeline, "PASSES", without("hoist"))
    with flags(*QUICK):
        yield


def tiles(compiled: Compiled) -> int:
    return compiled.program.source.count("for (int64_t t = ")


def inputs(rows: int, columns: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows * columns)
    shapes = [(rows, columns), (columns,), (rows,)]
    return [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]


def responses(flat: list[Tensor]) -> list[Tensor]:
    """The likelihood of an item response model and its gradient: what is read and added up by row, by column and over all."""
    x, by_column, by_row = flat
    logits = by_column.exp() * (by_row[:, None] - by_column)
    loss = torch.nn.functional.softplus(logits).sum() - (x * logits).sum()
    residual = torch.sigmoid(logits) - x
    by_column.sub_(0.01 * residual.sum(0))
    by_row.sub_(0.01 * (residual * logits).sum(1))
    return [loss, residual.sum(0), residual.sum(1) * 2.0]


@pytest.mark.parametrize(("rows", "columns"), [(300, 2), (171, 3), (200, 40), (77, 100), (5, 255), (40, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("in_sweeps", [False, True])
def test_item_responses(rows, columns, dtype, in_sweeps, monkeypatch):
    monkeypatch.setattr(sweep, "FEWEST_ROWS", 2 if in_sweeps else 10**6)
    given = inputs(rows, columns, dtype)
    compiled = Compiled(responses, given)
    assert_same(compiled.outcome(given, 3), compiled.expected(given, 3), tolerance=LOOSE[dtype])
    assert tiles(compiled) > 0
    monkeypatch.setattr(pipeline, "PASSES", without("hoist", "flatten"))
    plain = Compiled(responses, given)
    assert tiles(plain) == 0
    assert_same(compiled.outcome(given, 3), plain.outcome(given, 3), tolerance=LOOSE[dtype])


def views(flat: list[Tensor]) -> list[Tensor]:
    """What does not lie row by row, or has no row of its own."""
    x, by_column, by_row = flat
    wide = torch.cat([x, x * 2.0], 1)
    return [
        wide[:, 3 : 3 + x.shape[1]] * by_column.exp(),
        x.t().contiguous().t() * by_row[:, None],
        x.flip(0) + by_column,
        x[:, :1].expand_as(x) * by_column - x,
        (x.t().contiguous().t() * by_column).sum(),
    ]


def kept(flat: list[Tensor]) -> list[Tensor]:
    """Values that are written to memory, and inputs that change."""
    x, by_column, by_row = flat
    y = (x * by_column).sigmoid()
    x.mul_(by_row[:, None])
    return [y.flip(1) * 2.0, y.sum(), x.sum(0)]


def other_rules(flat: list[Tensor]) -> list[Tensor]:
    """Reductions that are no sums."""
    x, by_column, _ = flat
    y = x * by_column
    return [y.max(), y.min(), (y > 3.0).any(), (y > -9.0).all(), (0.1 * y).cos().prod()]


def other_rules_by_row(flat: list[Tensor]) -> list[Tensor]:
    """These are no tiles; others beside them may be."""
    x, by_column, _ = flat
    y = (x * by_column).exp()
    return [y.amin(0), y.amax(1), (y > 0.5).all(0), (0.1 * y).cos().prod(1), (x - by_column).sum(1)]


def deep(flat: list[Tensor]) -> list[Tensor]:
    """More dims than two, which are gone over as two."""
    x, by_column, by_row = flat
    y = x.reshape(10, -1, x.shape[1]) * by_column.exp()
    return [(y - by_row.reshape(10, -1)[..., None]).sum((0, 1)), y.sum(-1).exp(), y.sum()]


def of_other_dtypes(flat: list[Tensor]) -> list[Tensor]:
    x, by_column, by_row = flat
    chosen = torch.where((by_row > 0)[:, None] & (by_column > 0), x, by_column)
    counts = ((x > 0).long() * (by_column > 0)).sum()
    return [chosen.sum(1), counts, (x.double() * by_column).sum(0)]


def not_a_number(flat: list[Tensor]) -> list[Tensor]:
    x, by_column, by_row = flat
    y = x.log() * by_column
    return [y.sum(0), y.sum(1), y.nansum(), (y / (by_row[:, None] - by_row[3])).sum()]


PROGRAMS = {
    "views": views,
    "kept in memory": kept,
    "other rules": other_rules,
    "other rules by row": other_rules_by_row,
    "more dims": deep,
    "other dtypes": of_other_dtypes,
    "no numbers": not_a_number,
    "a softmax": lambda f: [torch.softmax(f[0] * f[1], 1), torch.logsumexp(f[0] + f[2][:, None], 1).sum()],
    "drawn": lambda f: [(torch.randn_like(f[0]) * f[1] + f[2][:, None]).exp().sum(0)],
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_programs(program, dtype, monkeypatch):
    given = inputs(110, 11, dtype)
    compiled = Compiled(program, given)
    tolerance = LOOSE[dtype]
    mine = compiled.outcome(given, 2)
    assert_same(mine, compiled.expected(given, 2), tolerance=tolerance)
    assert (tiles(compiled) > 0) == (program is not other_rules_by_row)
    monkeypatch.setattr(pipeline, "PASSES", without("hoist", "flatten"))
    assert_same(mine, Compiled(program, given).outcome(given, 2), tolerance=tolerance)


def test_the_same_loop_several_times():
    """Functions that several loops share have tiles, too."""

    def program(flat: list[Tensor]) -> list[Tensor]:
        total = flat[0]
        for _ in range(5):
            total = ((total - total.mean(0)) * flat[1]).sigmoid()
        return [total]

    compiled = check(program, *inputs(64, 9))
    assert "_loop_0(" in compiled.program.source
    assert tiles(compiled) > 0


def test_long_columns_in_float32_are_exact(monkeypatch):
    """What many tiles add to one place goes to float64 in between."""
    monkeypatch.setattr(accumulation, "BLOCK", 4)
    x = torch.rand(60_000, 3) + 1000.0
    compiled = Compiled(
        lambda f: [(f[0] * f[1]).sum(0), (f[0] * f[1]).sum(1), (f[0] * f[1]).sum()], [x, torch.ones(3)]
    )
    by_column, by_row, total = compiled.program([x, torch.ones(3)])[1:]
    assert tiles(compiled) > 0
    torch.testing.assert_close(by_column, x.double().sum(0).float(), rtol=2e-7, atol=0)
    torch.testing.assert_close(by_row, x.double().sum(1).float(), rtol=2e-7, atol=0)
    torch.testing.assert_close(total, x.double().sum().float(), rtol=2e-7, atol=0)


def test_a_division_by_zero_leaves_all_as_it_was():
    def program(flat: list[Tensor]) -> list[Tensor]:
        quotient = flat[0] // flat[1]
        flat[2].add_(1.0)
        return [quotient]

    given = [torch.arange(2000).reshape(200, 10), torch.arange(1, 11), torch.zeros(3)]
    compiled = check(program, *given)
    assert tiles(compiled) > 0
    given[1][7] = 0
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        compiled.program(given)
    assert not given[2].any()


class TestChoice:
    """Which loops have tiles."""

    @pytest.fixture(autouse=True)
    def _as_it_is(self, monkeypatch):
        monkeypatch.setattr(flatten, "LEAST_GAIN", 1.1)

    @staticmethod
    def tiles(
        rows: int, columns: int, cheap: bool = False, dim: int = 0, dtype: torch.dtype = torch.float32
    ) -> int:
        def program(flat: list[Tensor]) -> list[Tensor]:
            y = flat[0] * flat[1]
            return [(y if cheap else y.exp()).sum(dim)]

        return tiles(Compiled(program, inputs(rows, columns, dtype)))

    def test_short_rows(self):
        assert self.tiles(200, 40) == self.tiles(200, 3) == 1

    def test_few_elements(self):
        assert self.tiles(10, 40) == 0

    def test_long_rows(self):
        assert self.tiles(20, 1000) == 0

    def test_rows_of_whole_vectors(self):
        assert self.tiles(200, 16) == self.tiles(200, 128) == 0
        assert self.tiles(200, 40, dtype=torch.float64) == 0

    def test_short_rows_of_whole_vectors_that_are_added_up(self):
        assert self.tiles(200, 16, dim=1) == 1

    def test_what_costs_less_than_to_spread_it_out(self):
        assert self.tiles(200, 49, cheap=True) == 0
