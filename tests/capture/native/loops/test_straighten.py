"""Evenly spaced indices are strides: the same numbers, without a look at each index."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from tests.capture.native.programs import QUICK, Compiled, assert_same, check, flags, without


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pipeline, "VERIFY", True)
    with flags(*QUICK):
        yield


def states(k: int) -> Tensor:
    return torch.arange(k)


STRAIGHT = {
    "rows": lambda f: f[0][states(6)] * 2,
    "from the second on": lambda f: f[0][torch.arange(1, 5)] * 2,
    "every other": lambda f: f[0][torch.arange(0, 6, 2)] * 2,
    "enumerated": lambda f: f[0][states(6).reshape(6, 1, 1)] + f[1],
    "twice enumerated": lambda f: f[0][states(6).reshape(6, 1), states(4)] * 2,
    "columns": lambda f: f[0][:, states(4)] * 2,
    "gathered": lambda f: f[0].gather(1, states(4).expand(6, 4)) * 2,
    "selected": lambda f: f[0].index_select(1, torch.arange(1, 3)) * 2,
    "embedded": lambda f: torch.nn.functional.embedding(states(6).reshape(2, 3), f[0]) * 2,
    "added": lambda f: torch.zeros_like(f[0]).index_put((states(6),), f[0] * 2, accumulate=True),
    "added in reverse order of dims": lambda f: torch.zeros(4, 6, dtype=f[0].dtype).index_put(
        (states(4).reshape(4, 1), states(6)), f[0].t() * 2, accumulate=True
    ),
    "added many times": lambda f: torch.zeros(6, dtype=f[0].dtype).index_put(
        (states(6).reshape(6, 1).expand(6, 4),), f[0] * 2, accumulate=True
    ),
    "added over rows": lambda f: torch.zeros(4, dtype=f[0].dtype).index_put(
        (states(4).expand(6, 4),), f[0] * 2, accumulate=True
    ),
    "added to a part": lambda f: torch.zeros(9, 4, dtype=f[0].dtype).index_add(
        0, torch.arange(2, 8), f[0] * 2
    ),
    "added to something": lambda f: (f[0] * 3).index_add(0, states(6), f[0]),
    "scattered": lambda f: (f[0] * 1).scatter(0, states(6).reshape(6, 1).expand(6, 4), f[0] * 2),
    "put": lambda f: (f[0] * 1).index_copy(0, torch.arange(2, 5), f[0][:3] * 2),
}


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 4), (6, 1, 4), (3,))
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


@pytest.mark.parametrize("function", STRAIGHT.values(), ids=STRAIGHT)
def test_the_same_without_a_look(function, monkeypatch):
    compiled = check(lambda flat: [function(flat)], *inputs())
    assert "bad |= (uint64_t)" not in compiled.program.source
    mine = compiled.outcome(inputs())
    monkeypatch.setattr(pipeline, "PASSES", without("straighten"))
    plain = Compiled(lambda flat: [function(flat)], inputs())
    assert_same(mine, plain.outcome(inputs()))


BENT = {
    "doubled": lambda f: f[0][states(3).repeat(2)] * 2,
    "of data": lambda f: f[0][(f[2] > 0).long()] * 2,
    "squared": lambda f: f[0][states(3) * states(3)] * 2,
}


@pytest.mark.parametrize("function", BENT.values(), ids=BENT)
def test_others_stay_indices(function):
    check(lambda flat: [function(flat)], *inputs())


def test_gradients_of_enumerated_parameters():
    def function(flat: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            table = flat[0].detach().requires_grad_()
            x, z = states(6).reshape(6, 1), states(4)
            loss = (table[x, z].exp() * flat[1][:, 0]).sum() + table[x].logsumexp(-1).sum()
            (grad,) = torch.autograd.grad(loss, [table])
        return [loss.detach(), grad]

    compiled = check(function, *inputs())
    assert "bad |= (uint64_t)" not in compiled.program.source
