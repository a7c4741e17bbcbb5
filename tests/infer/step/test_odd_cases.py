"""Code that looks for odd cases: a recording takes for granted what it found; a step that finds another answer is Python's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.capture import explain
from ember.errors import CaptureError, Reason
from ember.infer import SVI, Trace_ELBO
from ember.infer.step.compile_mode import CompileMode
from ember.infer.step.states import Trusted
from ember.optim import SGD

pytestmark = pytest.mark.usefixtures("float64")
BUFFER = torch.tensor([1.0, 2.0])


def distances_to_itself(z: Tensor) -> Tensor:
    points = torch.stack([z, 2 * z])
    return (points - points).sum() if torch.equal(points, points.clone()) else points.sum()


def other_shapes(z: Tensor) -> Tensor:
    return z if torch.equal(z, torch.stack([z, z])) else 2 * z


def jitters(z: Tensor) -> Tensor:
    matrix = torch.eye(2) + z * torch.ones(2, 2) * 0.01
    factor, info = torch.linalg.cholesky_ex(matrix)
    if torch.any(info):
        factor = torch.linalg.cholesky(matrix + torch.eye(2))
    return factor.diagonal().log().sum()


def clamps(z: Tensor) -> Tensor:
    variance = z.exp() + 0.1
    return (variance.clamp_min(1e-3) if (variance < 1e-3).any() else variance).log().sum()


def looks_for_zero(z: Tensor) -> Tensor:
    return torch.ones(()) if z.sum() == 0 else 1.5 * z.sum()


def reads_data(z: Tensor) -> Tensor:
    return 3 * (2 * z).data + z


def copies(z: Tensor) -> Tensor:
    return copy.deepcopy(BUFFER).sum() * z


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other)


def asks_twice_by_one_line(z: Tensor) -> Tensor:
    """Two answers of one line, which two places of this function ask."""
    points = torch.stack([z, 2 * z])
    near = (points - points).sum() if _same(points, points.clone()) else points.sum()
    return near + (z if _same(points, points + 1) else 2 * z)


ODD = [
    distances_to_itself,
    other_shapes,
    jitters,
    clamps,
    looks_for_zero,
    reads_data,
    copies,
    asks_twice_by_one_line,
]


def fit(
    function: Callable[[Tensor], Tensor], compile: CompileMode, steps: int = 6, **options: Any
) -> tuple[list[float], SVI]:
    """Losses of steps on a model in which a function of the latent number is observed."""
    ember.clear_param_store()
    ember.set_rng_seed(0)

    def model() -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(function(z), 0.5), obs=torch.tensor(1.2))

    def guide() -> None:
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 0.8))

    svi = SVI(model, guide, SGD({"lr": 0.01}), Trace_ELBO(), compile=compile, **options)
    return [svi.step() for _ in range(steps)], svi


@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("function", ODD, ids=lambda function: function.__name__)
def test_steps_are_captured_and_are_pythons(function: Callable[[Tensor], Tensor], backend: str) -> None:
    losses, svi = fit(function, True, backend=backend)
    assert losses == pytest.approx(fit(function, False)[0], rel=1e-9)
    assert explain(svi).num_captures == 1 and explain(svi).captures[0].calls == 4


def seldom_other(z: Tensor) -> Tensor:
    return -z if (z < -0.9).any() else 2 * z


def test_another_answer_is_seen_to_by_python() -> None:
    losses, svi = fit(seldom_other, True, steps=60)
    assert losses == pytest.approx(fit(seldom_other, False, steps=60)[0], rel=1e-9)
    (state,) = svi.programs.entries.values()
    assert isinstance(state, Trusted) and state.program.num_left > 1


def test_many_steps_in_one_call_have_other_answers() -> None:
    losses = []
    for compile in (False, True):
        _, svi = fit(seldom_other, compile, steps=0)
        losses.append(svi.run(60, progress=False).losses)
    assert torch.allclose(*losses, rtol=1e-9)


def test_answers_that_are_others_in_most_steps_are_refused_in_the_end() -> None:
    def alternates(z: Tensor) -> Tensor:
        return 2 * z if (z > 0.3).any() else z

    with pytest.warns(UserWarning, match="others in call after call"):
        losses, svi = fit(alternates, "auto", steps=200)
    assert losses == pytest.approx(fit(alternates, False, steps=200)[0], rel=1e-9)
    assert 2 <= explain(svi).num_captures <= 9


def test_an_answer_that_turns_for_good_gets_a_program_of_its_own() -> None:
    def turns(z: Tensor) -> Tensor:
        return 2 * z if (ember.param("bias", torch.tensor(0.0)) > 0.5).any() else z

    _, svi = fit(turns, True, steps=4)
    with torch.no_grad():
        ember.param("bias").fill_(1.0)
    for _ in range(10):
        svi.step()
    first, second = explain(svi).captures
    assert (first.calls, second.calls) == (5, 6)


def test_a_branch_on_a_draw_alone_is_refused_as_before() -> None:
    with pytest.raises(CaptureError, match="Python asks for the value of a tensor") as raised:
        fit(lambda z: z if z > 0 else -z, True)
    assert raised.value.reason is Reason.VALUE_READ


def _is_small(z: Tensor) -> bool:
    return bool((z.abs() < 1e-3).all())


def halves_until_it_is_small(z: Tensor) -> Tensor:
    while not _is_small(z):
        z = z / 2
    return z


def test_a_loop_that_waits_for_an_answer_is_refused_wherever_it_asks() -> None:
    with pytest.raises(CaptureError) as raised:
        fit(halves_until_it_is_small, True)
    assert raised.value.reason is Reason.VALUE_READ
