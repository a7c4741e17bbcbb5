"""``torch.jit.trace`` over inference: no warning comes from Ember, and the numbers are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
from ember import distributions as dist
from ember import poutine
from ember.infer import config_enumerate, infer_discrete

TRANSITIONS = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
WEIGHTS = torch.tensor([0.3, 0.7])
DATA = torch.tensor([0.2, 2.9, 1.1, 0.3])


def chain(x: Tensor) -> list[Any]:
    state: Any = 0
    states = []
    for i in ember.markov(range(4)):
        probs = TRANSITIONS[state]
        state = ember.sample(f"z{i}", dist.Categorical(probs), infer={"enumerate": "parallel"})
        ember.sample(f"x{i}", dist.Normal(state.float(), 0.5), obs=x[i])
        states.append(state)
    return states


@config_enumerate
def mixture(x: Tensor) -> list[Any]:
    with ember.plate("rows", x.shape[0], dim=-1):
        z = ember.sample("z", dist.Categorical(WEIGHTS))
        ember.sample("x", dist.Normal(z.float() * 3.0, 0.5), obs=x)
    return [z]


def of_embers_code(found: list[warnings.WarningMessage]) -> list[str]:
    return [
        f"{each.filename}:{each.lineno}: {each.message}"
        for each in found
        if issubclass(each.category, torch.jit.TracerWarning) and "/ember/" in each.filename  # type: ignore[attr-defined]
    ]


def traced(function: Callable[..., Any]) -> Any:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        made: Any = torch.jit.trace(function, (DATA,), check_trace=False)  # type: ignore[no-untyped-call]
    assert of_embers_code(found) == []
    return made


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("model", [chain, mixture])
def test_infer_discrete(model: Callable[[Tensor], list[Any]], temperature: int) -> None:
    def program(x: Tensor) -> Tensor:
        return torch.stack(infer_discrete(model, first_available_dim=-2, temperature=temperature)(x))

    with ember.validation_enabled(False):
        made = traced(program)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = program(DATA)
        torch.manual_seed(seed)
        assert torch.equal(made(DATA), expected)


@pytest.mark.parametrize("model", [chain, mixture])
def test_the_density_of_what_was_inferred(model: Callable[[Tensor], list[Any]]) -> None:
    def program(x: Tensor) -> Any:
        inferred = infer_discrete(model, first_available_dim=-2, temperature=0)
        return poutine.trace(inferred).get_trace(x).log_prob_sum()

    with ember.validation_enabled(False):
        made = traced(program)
    torch.testing.assert_close(made(DATA), program(DATA))
