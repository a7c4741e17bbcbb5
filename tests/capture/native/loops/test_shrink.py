"""A value that is the same along a dim is computed once for it, whoever reads it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.loops import shrink
from tests.capture.native.programs import QUICK, Compiled, assert_same, check, flags, without


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(shrink, "FEWEST_SAVED", 1)
    with flags(*QUICK):
        yield


def rates(flat: list[Tensor]) -> Tensor:
    """Forty numbers, two hundred times."""
    return (flat[0].expand(200, 40) + 0.5).log()


def in_place(flat: list[Tensor]) -> Tensor:
    y = rates(flat).clone()
    y[3:5].add_(flat[1][3:5])
    return y.mul_(2.0)


READERS = {
    "plain": lambda f: rates(f) * f[1],
    "sum": lambda f: rates(f).sum(),
    "sum over rows": lambda f: rates(f).sum(0) + rates(f).sum(1).sum(),
    "flat": lambda f: rates(f).reshape(-1).cumsum(0),
    "flat, elementwise": lambda f: rates(f).reshape(-1) * f[1].reshape(-1),
    "split dims": lambda f: rates(f).reshape(200, 8, 5) * f[1].reshape(200, 8, 5),
    "transposed": lambda f: rates(f).t() * f[1].t(),
    "sliced": lambda f: rates(f)[10:20, 5:7] * f[1][:10, :2],
    "with steps": lambda f: rates(f)[::3, 1::2] * f[1][::3, 1::2],
    "one row": lambda f: rates(f)[7] * f[1],
    "a diagonal": lambda f: rates(f).diagonal() * f[1].diagonal(),
    "flipped": lambda f: rates(f).flip(0, 1) * f[1],
    "gathered": lambda f: rates(f)[torch.tensor([1, 5, 5])] * f[1][:3],
    "gathered columns": lambda f: rates(f).gather(1, torch.arange(40).expand(200, 40).flip(1)) * f[1],
    "put together": lambda f: torch.cat([rates(f), f[1]]) * 2,
    "written to": in_place,
    "a product of matrices": lambda f: rates(f) @ f[1].t(),
    "again": lambda f: torch.exp(rates(f) * 2.0 - 1.0) * f[1] + rates(f),
    "of no operand": lambda f: torch.full((200, 40), 2.0, dtype=torch.float64).log() * f[1],
    "both ways": lambda f: (f[0].expand(200, 40).exp() * f[1][:, :1].expand(200, 40).exp()).sum(0),
    "as it is": lambda f: rates(f),
    "spread out only": lambda f: f[0].expand(200, 40).contiguous() * f[1],
    "a slice spread out": lambda f: f[1][2].expand(200, 40).contiguous() * f[1],
    "compared": lambda f: torch.where(rates(f) > 0.1, f[1], 0.0),
    "by position": lambda f: (torch.arange(40.0, dtype=torch.float64).expand(200, 40).sqrt() * f[1]).sum(),
}


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand(40, dtype=torch.float64, generator=generator),
        torch.rand(200, 40, dtype=torch.float64, generator=generator),
    ]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_readers(reader, monkeypatch):
    monkeypatch.setattr(pipeline, "VERIFY", True)
    compiled = check(lambda flat: [reader(flat)], *inputs())
    mine = compiled.outcome(inputs())
    monkeypatch.setattr(pipeline, "PASSES", without("shrink"))
    plain = Compiled(lambda flat: [reader(flat)], inputs())
    assert_same(mine, plain.outcome(inputs()))


def test_it_is_computed_at_its_smallest_shape():
    def changing(flat: list[Tensor]) -> list[Tensor]:
        result = rates(flat) * flat[1]
        flat[0].add_(0.25)
        return [result]

    source = check(changing, *inputs(), steps=2).program.source
    loops = re.split(r"/\* \d+: ", source)
    assert [loop.split(" */")[0] for loop in loops if "ember_log_f64(" in loop.split("static")[0]] == [
        "a loop over 40"
    ]


def test_what_is_written_later_is_read_as_it_was():
    def snapshot(flat: list[Tensor]) -> list[Tensor]:
        before = flat[0].expand(200, 40).contiguous()
        flat[0].mul_(3.0)
        return [before * flat[1], flat[0] * 1.0]

    check(snapshot, *inputs(), steps=3)
