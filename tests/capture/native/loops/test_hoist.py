"""What depends on data alone is computed once, and again when the data are others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.c_writer import watch
from ember.capture.native.loops import hoist
from tests.capture.native.programs import QUICK, Compiled, assert_same, check, flags, source_of, without


@pytest.fixture(autouse=True)
def quick():
    with flags(*QUICK):
        yield


def function(flat: list[Tensor]) -> list[Tensor]:
    """A parameter that each step changes, and data."""
    param, y = flat
    loss = (y * param - torch.lgamma(y + 1)).sum() + param * torch.linalg.vector_norm(y)
    param.add_(0.125)
    return [loss]


def inputs() -> list[Tensor]:
    return [torch.tensor(1.5, dtype=torch.float64), torch.arange(64.0, dtype=torch.float64)]


def halves(compiled: Compiled) -> tuple[str, str]:
    """What comes before the steps, and the step."""
    before, _, step = source_of(compiled.graph, inputs()).partition("static void prepare(")
    return before, step


def test_it_moves_out_of_the_step():
    compiled = check(function, *inputs(), steps=3)
    before, step = halves(compiled)
    assert "lgamma" in before.split("EMBER_PIECE")[1]
    assert "ember_lgamma" not in step


def test_the_same_bits_as_without(monkeypatch):
    mine = Compiled(function, inputs()).outcome(inputs(), 4)
    monkeypatch.setattr(pipeline, "PASSES", without("hoist"))
    plain = Compiled(function, inputs())
    assert "prepare(" not in plain.program.source
    for a, b in zip(mine, plain.outcome(inputs(), 4), strict=True):
        assert torch.equal(a, b)


CHANGES = {
    "in place": lambda y: y.add_(1),
    "one element": lambda y: y.__setitem__(63, 9.0),
    "through data": lambda y: y.data.mul_(2.0),
    "through numpy": lambda y: y.numpy().__setitem__(0, 7.0),
    "through a view": lambda y: y.view(8, 8)[3].zero_(),
    "not at all": lambda y: None,
    "the sign of a zero": lambda y: y.__setitem__(0, -0.0),
    "to nan": lambda y: y.__setitem__(5, float("nan")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("steps", [1, 3])
def test_changes_of_data_are_seen(change, steps):
    compiled = Compiled(function, inputs())
    mine, other = inputs(), inputs()
    for round_ in range(3):
        if steps > 1:
            list(compiled.program.run(mine, steps - 1))
        found = compiled.program(mine)[1]
        with torch.no_grad():
            for _ in range(steps):
                expected = function(other)[0]
        assert_same([found, *mine], [expected, *other])
        if round_ == 0:
            change(mine[1])
            change(other[1])


def test_other_data():
    compiled = Compiled(function, inputs())
    for scale in (1.0, 2.0, 1.0, 3.0):
        given = [torch.tensor(0.5, dtype=torch.float64), inputs()[1] * scale]
        with torch.no_grad():
            expected = function([given[0].clone(), given[1]])
        assert_same([compiled.program(given)[1]], expected)


def test_neither_draws_nor_parameters_move():
    def drawing(flat: list[Tensor]) -> list[Tensor]:
        param, y = flat
        loss = (torch.lgamma(torch.rand(64, dtype=torch.float64) + y) * torch.digamma(param)).sum()
        param.add_(0.125)
        return [loss]

    compiled = check(drawing, *inputs(), steps=3)
    assert "prepare(" not in compiled.program.source


def test_an_index_out_of_range_in_what_moved():
    def indexing(flat: list[Tensor]) -> list[Tensor]:
        param, index, table = flat
        loss = torch.lgamma(table[index]).sum() * param
        param.add_(0.125)
        return [loss]

    index, table = torch.arange(32), torch.rand(32, dtype=torch.float64) + 1
    compiled = check(indexing, torch.tensor(1.0, dtype=torch.float64), index, table)
    assert "prepare(" in compiled.program.source
    param = torch.tensor(1.0, dtype=torch.float64)
    index[3] = 32
    for _ in range(2):
        with pytest.raises(IndexError, match="out of"):
            compiled.program([param, index, table])
        assert param.item() == 1.0
    index[3] = 0
    expected = torch.lgamma(table[index]).sum()
    assert_same([compiled.program([param, index, table])[1]], [expected])


def test_memory_is_bounded_and_counted(monkeypatch):
    compiled = Compiled(function, inputs())
    assert 64 * 8 <= compiled.program.kept_bytes <= 4 * 64 * 8
    monkeypatch.setattr(hoist, "MOST_BYTES", 16)
    compiled = check(function, *inputs(), steps=3)
    assert compiled.program.kept_bytes < 1024 and "lgamma" in compiled.program.source


def test_data_that_are_too_large_to_be_copied(monkeypatch):
    monkeypatch.setattr(watch, "MOST_COPIED", 64)
    compiled = check(function, *inputs(), steps=3)
    assert "prepare(" in compiled.program.source and "memcmp" not in compiled.program.source
    mine = inputs()
    compiled.program(mine)
    mine[1].numpy()[:] = 2.0
    with torch.no_grad():
        expected = function([mine[0].clone(), mine[1]])
    assert_same([compiled.program(mine)[1]], expected)
