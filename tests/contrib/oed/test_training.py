"""Minimising losses over designs: whichever the optimizer, and what goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ember
from ember.contrib.oed.eig import EwmaLog, opt_eig_ape_loss, xexpx
from ember.contrib.oed.eig.runs import mode_for
from ember.optim import SGD, Adam, StepLR

DESIGNS = torch.tensor([[1.0, 2.0], [3.0, -1.0]])


def gap(
    design: Tensor, num_samples: int, evaluation: bool = False, **kwargs: object
) -> tuple[Tensor, Tensor]:
    off = (ember.param("x", torch.zeros(2, 2)) - design) ** 2
    return off.sum(), off


def by_hand(rates: list[float]) -> Tensor:
    x, history = torch.zeros(2, 2), []
    for rate in rates:
        history.append((x - DESIGNS) ** 2)
        x = x - rate * 2 * (x - DESIGNS)
    return torch.stack([*history, (x - DESIGNS) ** 2])


@pytest.mark.parametrize("mode", [False, True])
def test_steps_follow_the_optimizer_and_its_schedule(mode: bool) -> None:
    ember.settings.set(compile=mode)
    try:
        step = {"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}, "step_size": 2, "gamma": 0.5}
        history, final = opt_eig_ape_loss(DESIGNS, gap, 1, 5, StepLR(step), return_history=True)
    finally:
        ember.settings.set(compile=None)
    expected = by_hand([0.1, 0.1, 0.05, 0.05, 0.025])
    torch.testing.assert_close(history, expected[:-1])
    torch.testing.assert_close(final, expected[-1])


def test_any_callable_can_be_the_optimizer() -> None:
    class Plain:
        steps = 0

        def __call__(self, params: set[Tensor]) -> None:
            for param in params:
                param.data -= 0.1 * param.grad

        def step(self) -> None:
            self.steps += 1

    plain = Plain()
    history, final = opt_eig_ape_loss(DESIGNS, gap, 1, 4, plain, return_history=True)
    expected = by_hand([0.1] * 4)
    torch.testing.assert_close(history, expected[:-1])
    torch.testing.assert_close(final, expected[-1])
    assert plain.steps == 4


@pytest.mark.parametrize("num_steps", [0, 1])
def test_few_steps(num_steps: int) -> None:
    history, final = opt_eig_ape_loss(DESIGNS, gap, 1, num_steps, SGD({"lr": 0.1}), return_history=True)
    assert history.numel() == 4 * num_steps
    torch.testing.assert_close(final, by_hand([0.1] * num_steps)[-1])


def test_other_final_designs() -> None:
    x = ember.param("x", torch.ones(2, 2))
    history, final = opt_eig_ape_loss(
        DESIGNS, gap, 1, 3, SGD({"lr": 0.1}), return_history=True, final_design=torch.zeros(5, 2, 2)
    )
    assert history.shape == (3, 2, 2) and final.shape == (5, 2, 2)
    torch.testing.assert_close(final[0], x**2)


@pytest.mark.parametrize("optim", [Adam({"lr": 0.1}), lambda params: None])
def test_losses_that_are_not_finite_are_errors(optim: Any) -> None:
    def bad(design: Tensor, num_samples: int, evaluation: bool) -> tuple[Tensor, Tensor]:
        return (ember.param("x", torch.tensor(1.0)) * torch.nan).sum(), design

    with pytest.raises(ArithmeticError, match="Encountered NaN loss in opt_eig_ape_loss"):
        opt_eig_ape_loss(DESIGNS, bad, 1, 3, optim)


def test_gradients_for_designs_are_left_alone() -> None:
    design = DESIGNS.clone().requires_grad_()
    final = opt_eig_ape_loss(design, gap, 1, 300, SGD({"lr": 0.1}))
    final.sum().backward()
    assert design.grad is not None and design.grad.shape == (2, 2)


def test_moving_average_of_the_logarithm() -> None:
    alpha, log = 0.9, EwmaLog(alpha=0.9)
    assert (log.n, log.ewma, log.s) == (0, 0.0, 0.0)
    values, scales = [2.0, 5.0, 1.0], [0.3, -0.2, 400.0]
    for t, (value, scale) in enumerate(zip(values, scales, strict=True), 1):
        x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        found = log(x, torch.tensor([scale], dtype=torch.float64))
        found.backward()
        torch.testing.assert_close(found, x.log())
        past = [alpha ** (t - k) for k in range(1, t + 1)]
        scaled = [v * torch.tensor(s - scale).double().exp() for v, s in zip(values, scales, strict=False)]
        average = sum(a * v for a, v in zip(past, scaled, strict=False)) / sum(past)
        torch.testing.assert_close(x.grad, 1 / average.reshape(1))
    assert log.n == 3


def test_a_moving_average_gets_over_infinity() -> None:
    log = EwmaLog(alpha=0.5)
    for value in (torch.inf, 3.0):
        x = torch.tensor([value], requires_grad=True)
        log(x, torch.zeros(1)).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1 / 3]))


def test_xexpx_at_minus_infinity() -> None:
    a = torch.tensor([0.0, 1.0, -torch.inf, torch.nan], requires_grad=True)
    found = xexpx(a)
    torch.testing.assert_close(found[:3], torch.tensor([0.0, torch.e, 0.0]))
    assert found[3].isnan()
    found[:3].sum().backward()
    torch.testing.assert_close(a.grad[:3], torch.tensor([1.0, 2 * torch.e, 0.0]))  # type: ignore[index]


def test_steps_are_captured_from_200_on() -> None:
    assert mode_for(199, DESIGNS) is False and mode_for(200, DESIGNS) == "auto"


def test_what_cannot_be_captured_says_why() -> None:
    def asks(design: Tensor, num_samples: int, evaluation: bool) -> tuple[Tensor, Tensor]:
        x = ember.param("x", torch.tensor(1.0))
        return (x * x if x.item() > 0 else x), design

    with (
        ember.settings.context(compile=True),
        pytest.raises(ember.errors.CaptureError, match="Python asks for the value of a tensor"),
    ):
        opt_eig_ape_loss(DESIGNS, asks, 1, 5, SGD({"lr": 0.1}))
