"""When all steps of a loop run at once, and when they must not."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.errors import ModelError
from tests.poutine.time.models import ROWS, STEPS, data

Z = torch.linspace(-1.0, 1.0, STEPS)


class Counted:
    """A step that counts how often it runs."""

    def __init__(self, step):
        self.step, self.runs = step, 0

    def __call__(self, carry, x):
        self.runs += 1
        return self.step(carry, x)


def runs_of(model, monkeypatch, *args, z=Z):
    """How often the step of a model runs with its values given, and the trace."""
    counted = []
    plain = ember.scan

    def scan(f, *args, **kwargs):
        counted.append(Counted(f))
        return plain(counted[-1], *args, **kwargs)

    monkeypatch.setattr(ember, "scan", scan)
    trace = poutine.trace(poutine.condition(model, data={"z": z})).get_trace(*args)
    return counted[0].runs, trace


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_markov_models_run_at_once(row, monkeypatch):
    z = torch.randn(STEPS, *row.event_shape)
    runs, _ = runs_of(row.model, monkeypatch, data(), z=z)
    assert runs == (3 if row.at_once else STEPS)


def test_a_first_carry_may_hold_a_tensor_twice(monkeypatch):
    def model(zero, other):
        def step(carry, x):
            z = ember.sample("z", dist.Normal(0.5 * carry[0] + 0.2 * carry[1], 1.0))
            return (z, carry[0]), z

        ember.scan(step, (zero, other), torch.arange(STEPS))

    zero = torch.tensor(0.3, requires_grad=True)
    runs, trace = runs_of(model, monkeypatch, zero, zero)
    total = trace.log_prob_sum()
    assert runs == 3
    _, apart = runs_of(model, monkeypatch, zero, zero * 1)
    torch.testing.assert_close(total, apart.log_prob_sum())
    found, wanted = (torch.autograd.grad(value, zero) for value in (total, apart.log_prob_sum()))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_both_ways_give_the_same(row, monkeypatch):
    z = torch.randn(STEPS, *row.event_shape)
    model = poutine.condition(row.model, data={"z": z})
    traces = [poutine.trace(model).get_trace(data())]
    monkeypatch.setattr("ember.poutine.time.at_once.FEWEST_STEPS", STEPS + 1)
    traces.append(poutine.trace(model).get_trace(data()))
    for trace in traces:
        trace.compute_log_prob()
    one, other = (trace.nodes for trace in traces)
    assert list(one) == list(other)
    for name in one:
        if one[name].type == "sample":
            assert one[name].fn.event_shape == other[name].fn.event_shape
            assert torch.allclose(one[name].value, other[name].value)
            assert torch.allclose(one[name].log_prob, other[name].log_prob, rtol=1e-4)
    last, outputs = (
        zip(ember.tree.tensors(a), ember.tree.tensors(b), strict=True)
        for a, b in zip(one["_RETURN"].value, other["_RETURN"].value, strict=True)
    )
    assert all(torch.allclose(a, b) and a.shape == b.shape for a, b in [*last, *outputs])


def _counting(x):
    times = iter(range(1000))

    def step(level, x):
        level = ember.sample("z", dist.Normal(level, 1.0 + next(times)))
        return level, None

    ember.scan(step, torch.tensor(0.0), x)


def _branching(x):
    def step(level, x):
        scale = 1.0 if x > 0 else 2.0
        return ember.sample("z", dist.Normal(level, scale)), None

    ember.scan(step, torch.tensor(0.0), x)


def _noisy(x):
    def step(level, x):
        return ember.sample("z", dist.Normal(level + torch.randn(()), 1.0)), None

    ember.scan(step, torch.tensor(0.0), x)


def _of_number(x):
    def step(carry, x):
        level, time = carry
        return (ember.sample("z", dist.Normal(level, 1.0 + time)), time + 1), None

    ember.scan(step, (torch.tensor(0.0), 0), x)


def _swapping(x):
    def step(carry, x):
        one, other = carry
        ember.sample("z", dist.Normal(one, 1.0))
        return (other, one), None

    ember.scan(step, (torch.tensor(0.0), torch.tensor(1.0)), x)


@pytest.mark.parametrize("model", [_branching, _noisy, _of_number, _swapping])
def test_other_steps_run_one_by_one(model, monkeypatch):
    x = torch.tensor([1.0, -1.0] * (STEPS // 2))
    torch.manual_seed(0)
    _, trace = runs_of(model, monkeypatch, x)
    found = trace.log_prob_sum()
    monkeypatch.undo()
    monkeypatch.setattr("ember.poutine.time.at_once.FEWEST_STEPS", STEPS + 1)
    torch.manual_seed(0)
    assert found == poutine.trace(poutine.condition(model, data={"z": Z})).get_trace(x).log_prob_sum()


def test_a_step_that_counts_its_calls_is_refused():
    with pytest.raises(ModelError, match="site 'z' is another in step 0 when the step runs again"):
        poutine.condition(_counting, data={"z": Z})(data())
    assert not poutine.runtime.THREAD.stack


def test_an_error_of_a_step_is_that_of_the_loop():
    def step(level, x):
        return ember.sample("z", dist.Normal(level, x)), None

    scales = torch.ones(STEPS)
    scales[7] = -1.0
    model = poutine.condition(lambda: ember.scan(step, torch.tensor(0.0), scales), data={"z": Z})
    with pytest.raises(ValueError, match="Expected parameter scale"):
        model()
    assert not poutine.runtime.THREAD.stack


def test_a_fixed_part_of_the_carry(monkeypatch):
    def model(x):
        def step(carry, x):
            level, scale = carry
            return (ember.sample("z", dist.Normal(level, scale)), scale), None

        return ember.scan(step, (torch.tensor(0.0), torch.tensor(2.0)), x)

    runs, trace = runs_of(model, monkeypatch, data())
    assert runs == 3
    before = torch.cat([torch.zeros(1), Z[:-1]])
    assert torch.allclose(trace.log_prob_sum(), dist.Normal(before, 2.0).log_prob(Z).sum())
    (level, scale), _ = trace.nodes["_RETURN"].value
    assert level == Z[-1] and scale == 2.0


@pytest.mark.parametrize("steps, runs", [(7, 7), (8, 3)])
def test_few_steps_run_one_by_one(steps, runs):
    calls = []

    def step(level, x):
        calls.append(1)
        return ember.sample("z", dist.Normal(level, 1.0)), None

    model = lambda: ember.scan(step, torch.tensor(0.0), length=steps)
    poutine.condition(model, data={"z": torch.zeros(steps)})()
    assert len(calls) == runs
