"""Loops that go along the columns of what lies column by column give what they give along its rows."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from tests.capture.native.programs import QUICK, Compiled, assert_same, flags, without

LOOSE = (1e-11, 1e-11)
"""Sums are added up in another order."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pipeline, "VERIFY", True)
    monkeypatch.setattr(pipeline, "PASSES", without("hoist"))
    with flags(*QUICK):
        yield


def inputs(rows: int = 150, columns: int = 130) -> list[Tensor]:
    """One matrix row by row, and three column by column."""
    generator = torch.Generator().manual_seed(rows)
    x, *others = torch.randn(4, rows, columns, dtype=torch.float64, generator=generator)
    return [x, *(other.t().contiguous().t() for other in others)]


PROGRAMS = {
    "a sum": lambda f: [(f[0] * f[1] * f[2].exp() - f[3]).sum()],
    "two sums": lambda f: [(f[0] * f[1] * f[2]).sum(), (f[0] - f[1] + f[3]).abs().max()],
    "truth": lambda f: [((f[0] < 9) & (f[1] < f[2] + 20)).all(), ((f[0] > f[1] + 7) & (f[2] > f[3])).any()],
    "a triangle": lambda f: [((f[0] * f[1]).tril(-1) * f[2]).sum(), (f[1].tril() == f[2]).any()],
    "positions": lambda f: [
        (f[1] * f[2] * torch.arange(float(f[0].shape[1]), dtype=torch.float64) + f[0]).sum()
    ],
    "three at once": lambda f: [torch.addcmul(f[0], f[1], f[2]).sum(), (f[0] + f[1]).sum()],
    "kept": lambda f: [f[0] * f[1] * f[2], (f[0] - f[1] - f[2]).sum(0), (f[1] * f[2] + f[0]).sum(1)],
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("size", [(150, 130), (40, 17)])
def test_programs(program, size, monkeypatch):
    given = inputs(*size)
    compiled = Compiled(program, given)
    assert_same(compiled.outcome(given, 2), compiled.expected(given, 2), tolerance=LOOSE)
    monkeypatch.setattr(pipeline, "PASSES", without("hoist", "turn"))
    assert_same(compiled.outcome(given, 2), Compiled(program, given).outcome(given, 2), tolerance=LOOSE)


def across(program, given: list[Tensor]) -> int:
    """How many arrays are read across their rows."""
    source = Compiled(program, given).program.source
    return len(set(re.findall(r"x(\d+)\[i0 \+ \d+ \* i1\]", source)))


def test_most_is_read_along(monkeypatch):
    def program(f: list[Tensor]) -> list[Tensor]:
        return [torch.addcmul(f[0], f[1], f[2]).sum()]

    assert across(program, inputs()[:3]) == 1
    monkeypatch.setattr(pipeline, "PASSES", without("hoist", "turn"))
    assert across(program, inputs()[:3]) == 2


def test_what_is_read_along_as_often_is_left():
    def program(f: list[Tensor]) -> list[Tensor]:
        return [(f[0].exp() * f[1]).sum()]

    assert across(program, inputs()[:2]) == 1
    assert across(program, inputs()[1::-1]) == 1


def test_all_of_a_value_is_reduced_where_it_is_computed():
    """Also where it is read as one row."""
    x = inputs()[0]
    compiled = Compiled(lambda f: [(f[0].exp() < 3.0).flatten(-2).all(-1), f[0].exp().reshape(-1).sum()], [x])
    assert_same(compiled.outcome([x]), compiled.expected([x]), tolerance=LOOSE)
    assert compiled.program.source.count(": a loop over") == 1
