"""What is computed again where it is read gives what it gives from memory, and needs none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.loops import recompute
from tests.capture.native.programs import QUICK, Compiled, assert_same, flags, without

LOOSE = {torch.float32: (1e-4, 1e-4), torch.float64: (1e-11, 1e-12)}
"""Another loop may add and multiply in one instruction where this one does not; sums are added up in another order."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pipeline, "VERIFY", True)
    with flags(*QUICK):
        yield


def inputs(rows: int = 150, columns: int = 130, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """A matrix of weights with two averages, and two vectors."""
    generator = torch.Generator().manual_seed(rows)
    shapes = [(rows, columns)] * 3 + [(rows,), (columns,)]
    w, m, v, left, right = (torch.randn(s, dtype=dtype, generator=generator) for s in shapes)
    return [w, m, v.abs(), left, right]


def adam(flat: list[Tensor]) -> list[Tensor]:
    """A layer, its gradient, a look at the gradient, and an update that counts only if that is finite."""
    w, m, v, left, right = flat
    forward = w @ right
    left = left + forward
    gradient = left[:, None] * right
    back = (w * left[:, None]).sum(0)
    good = torch.isfinite(gradient).all()
    first = m.lerp(gradient, 0.1)
    second = v * 0.999 + 0.001 * gradient * gradient
    new = w - 0.01 * first / (second.sqrt() + 1e-8)
    for old, changed in ((w, new), (m, first), (v, second)):
        old.copy_(torch.where(good, changed, old))
    return [forward, back]


def bytes_of(compiled: Compiled) -> int:
    return compiled.program._arena.numel() * compiled.program._arena.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_and_its_averages_need_no_memory(dtype, monkeypatch):
    given = inputs(dtype=dtype)
    compiled = Compiled(adam, given)
    assert_same(compiled.outcome(given, 3), compiled.expected(given, 3), tolerance=LOOSE[dtype])
    monkeypatch.setattr(pipeline, "PASSES", without("recompute"))
    stored = Compiled(adam, given)
    assert_same(compiled.outcome(given, 3), stored.outcome(given, 3), tolerance=LOOSE[dtype])
    matrix = given[0].numel() * dtype.itemsize
    assert bytes_of(compiled) < matrix / 2
    assert bytes_of(stored) > 3 * matrix


def test_a_gradient_that_is_not_finite_changes_nothing():
    given = inputs()
    given[3][7] = float("inf")
    compiled = Compiled(adam, given)
    assert_same(compiled.outcome(given), compiled.expected(given))
    assert torch.equal(compiled.outcome(given)[2], given[0])


def changed_meanwhile(flat: list[Tensor]) -> list[Tensor]:
    """The product is read after what it was computed from has been written over."""
    w, m, v, left, _ = flat
    product = w * m
    whole = product.sum()
    w.add_(whole)
    return [product * whole, (product - v).sum(0), w @ left[: w.shape[1]]]


def read_across(flat: list[Tensor]) -> list[Tensor]:
    """A reader that needs another element than its own."""
    w, m, _, left, right = flat
    outer = left[:, None] * right
    total = outer.sum()
    return [(outer + total) * w, outer.t() @ (m + total), (outer * total).flip(0)]


def dear(flat: list[Tensor]) -> list[Tensor]:
    w, *_ = flat
    slow = torch.lgamma(w.abs() + 1)
    return [slow - slow.sum(), (slow * slow.mean()).sum(1)]


@pytest.mark.parametrize("program", [adam, changed_meanwhile, read_across, dear])
@pytest.mark.parametrize("least", [1, recompute.LEAST_BYTES])
@pytest.mark.parametrize("passes", [-100.0, recompute.LEAST_PASSES])
def test_programs(program, least, passes, monkeypatch):
    monkeypatch.setattr(recompute, "LEAST_BYTES", least)
    monkeypatch.setattr(recompute, "LEAST_PASSES", passes)
    given = inputs()
    compiled = Compiled(program, given)
    assert_same(compiled.outcome(given, 2), compiled.expected(given, 2), tolerance=LOOSE[torch.float64])


def test_what_costs_much_is_kept():
    source = Compiled(dear, inputs()).program.source
    assert source.count("= ember_lgamma_f64(") == 1


def test_small_values_are_kept(monkeypatch):
    given = inputs(20, 30)
    with_pass = Compiled(adam, given).program.source
    monkeypatch.setattr(pipeline, "PASSES", without("recompute"))
    assert Compiled(adam, given).program.source == with_pass
