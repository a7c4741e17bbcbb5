"""Handlers keep the type of what they are put around; without a program they are context managers and decorators."""

from __future__ import annotations

from typing import assert_type

import torch
from torch import Tensor

import ember
from ember import distributions as dist
from ember import poutine


@ember.condition(data={"x": torch.tensor(1.0)})
def conditioned(scale: float) -> Tensor:
    return ember.sample("x", dist.Normal(0.0, scale))


assert_type(conditioned(2.0), Tensor)


def plain(scale: float) -> Tensor:
    return ember.sample("x", dist.Normal(0.0, scale))


assert_type(poutine.condition(plain, data={"x": torch.tensor(0.0)})(1.0), Tensor)
assert_type(poutine.scale(plain, scale=0.5)(1.0), Tensor)
assert_type(poutine.block(plain, hide=["x"])(1.0), Tensor)
assert_type(ember.do(plain, data={"x": 0.0})(scale=1.0), Tensor)
assert_type(poutine.mask(plain, mask=torch.tensor(True))(1.0), Tensor)
assert_type(poutine.seed(plain, rng_seed=0)(1.0), Tensor)

trace = poutine.trace(plain).get_trace(1.0)
assert_type(trace, poutine.Trace)
replayed = poutine.replay(plain, trace=trace)
assert_type(replayed(1.0), Tensor)

with poutine.trace() as recorder, poutine.scale(scale=2.0):
    plain(1.0)
assert_type(recorder.get_trace(), poutine.Trace)

for step in ember.markov(range(3)):
    assert_type(step, int)

with ember.plate("data", 10, subsample_size=5, dim=-1) as rows:
    torch.zeros(10)[rows]
for index in ember.plate("in sequence", 3):
    ember.sample(f"z_{index}", dist.Normal(0.0, 1.0))
with ember.plate_stack("grid", [2, 3]):
    ember.sample("cells", dist.Normal(0.0, 1.0))


def draw_two(size: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(size), torch.ones(size)


assert_type(ember.sample("pair", draw_two, 3), tuple[Tensor, Tensor])
