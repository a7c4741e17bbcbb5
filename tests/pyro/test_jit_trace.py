"""``pyro.ops.jit.trace``: traced at the first call, with the store's parameters as inputs."""

from __future__ import annotations

import argparse

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.pyro import jit_trace


def test_a_traced_density_follows_its_parameters() -> None:
    def model(x: torch.Tensor) -> torch.Tensor:
        scale = ember.param("scale", torch.tensor(0.5), constraint=constraints.positive)
        return ember.sample("y", dist.Normal(x, scale))

    @jit_trace.trace(ignore_warnings=True)
    def log_prob(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return poutine.trace(poutine.condition(model, data={"y": y})).get_trace(x).log_prob_sum()

    x, y = torch.tensor(1.0), torch.tensor(2.0)
    torch.testing.assert_close(log_prob(x, y), dist.Normal(x, 0.5).log_prob(y))
    ember.get_param_store()["scale"] = torch.tensor(2.0)
    result = log_prob(y, x)
    torch.testing.assert_close(result, dist.Normal(y, 2.0).log_prob(x))
    assert len(log_prob.compiled) == 1
    (grad,) = torch.autograd.grad(result, ember.param("scale").unconstrained())
    torch.testing.assert_close(grad, torch.tensor(-0.75))  # d/d log(scale) = z^2 - 1


def test_the_function_runs_twice_and_never_again() -> None:
    runs = []
    double = jit_trace.trace(lambda x, times=2: (runs.append(times), x * times)[1])
    for _ in range(3):
        assert double(torch.ones(()), times=3) == 3
    assert runs == [3, 3]
    assert double(torch.ones(())) == 2 and len(double.compiled) == 2


def test_keyword_arguments_are_told_apart_by_value() -> None:
    scaled = jit_trace.trace(lambda x, **options: x * len(options["a"]))
    for value in ([1, 2], {1: [2], 3: 4}, {1, 2}, ([], [])):
        assert scaled(torch.ones(()), a=value) == 2
    assert len(scaled.compiled) == 4
    named = jit_trace.trace(lambda x, options: x * options.times)
    for times in (2, 3):
        assert named(torch.ones(()), options=argparse.Namespace(times=times)) == times


def test_arguments_that_cannot_be_hashed_count_by_identity() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

    traced = jit_trace.trace(lambda x, a: x + 1)
    with pytest.warns(UserWarning, match="Failed to hash kwargs; attempting to hash by id"):
        assert traced(torch.ones(()), a=[Unhashable()]) == 2


def test_parameters_that_come_later_are_refused() -> None:
    names = iter("ab")
    traced = jit_trace.trace(lambda x: x * ember.param(next(names), torch.ones(())))
    with pytest.raises(NotImplementedError, match="but found new param: b"):
        traced(torch.ones(()))


def test_options_go_to_torch_and_stay_the_callers() -> None:
    options = {"time_compilation": True}
    traced = jit_trace.CompiledFunction(lambda x: x + 1, jit_options=options)
    assert traced.compile_time is None
    traced(torch.ones(()))
    assert traced.compile_time is not None and traced.compile_time > 0
    assert options == {"time_compilation": True}
