"""Ember's own update rules against their formulas in NumPy-free scalar arithmetic, torch's rules and their limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import scipy.fft
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ember.optim.adagrad_rmsprop import AdagradRMSProp, adagrad_rmsprop
from ember.optim.clipped_adam import ClippedAdam, clipped_adam
from ember.optim.dct_adam import DCTAdam

from .training import give_gradient, leaves


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("centered", [False, True])
def test_clipped_adam_follows_its_formula(weight_decay: float, centered: bool) -> None:
    param = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    rule = ClippedAdam(
        [param], lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=weight_decay, clip_norm=1.5, lrd=0.9,
        centered_variance=centered,
    )  # fmt: skip
    w, m, v, lr = 2.0, 0.0, 0.0, 0.1
    for t, grad in enumerate([3.0, -0.5, 0.25, -7.0, 1.0], start=1):
        param.grad = torch.tensor(grad, dtype=torch.float64)
        rule.step()
        lr *= 0.9
        g = max(-1.5, min(1.5, grad))
        assert float(param.grad) == g
        g += weight_decay * w
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * ((g - m) if centered else g) ** 2
        w -= lr * math.sqrt(1 - 0.9**t) / (1 - 0.8**t) * m / (math.sqrt(v) + 1e-3)
        assert float(param.detach()) == pytest.approx(w, rel=1e-13)
    assert rule.param_groups[0]["lr"] == pytest.approx(lr)


def test_adagrad_rmsprop_follows_its_formula() -> None:
    param = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    rule = AdagradRMSProp([param], eta=0.5, delta=0.1, t=0.2)
    w, s = 2.0, 0.0
    for i, grad in enumerate([3.0, -0.5, 0.25, -7.0], start=1):
        param.grad = torch.tensor(grad, dtype=torch.float64)
        rule.step()
        s = grad**2 if i == 1 else 0.8 * s + 0.2 * grad**2
        w -= 0.5 * i ** (-0.5 + 0.1) * grad / (1 + math.sqrt(s))
        assert float(param.detach()) == pytest.approx(w, rel=1e-13)
    rule.share_memory()
    assert rule.state[param]["sum"].is_shared()


@pytest.mark.parametrize("kind", [ClippedAdam, DCTAdam])
def test_without_clipping_it_is_adam(kind: Any) -> None:
    # torch adds eps after the bias correction, here it comes before: without eps they are one rule.
    params, expected = leaves(), leaves()
    rule, adam = kind(params, lr=0.1, clip_norm=1e9, eps=1e-30), torch.optim.Adam(expected, lr=0.1, eps=1e-30)
    for step in range(20):
        give_gradient(params, step)
        give_gradient(expected, step)
        rule.step()
        adam.step()
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [ClippedAdam, AdagradRMSProp])
def test_sparse_gradients_are_refused(kind: Any) -> None:
    params = leaves("sparse")
    give_gradient(params, 0, "sparse")
    with pytest.raises(NotImplementedError, match="sparse"):
        kind(params).step()


def test_closures_run_with_gradients() -> None:
    for kind in (ClippedAdam, AdagradRMSProp, DCTAdam):
        param = torch.tensor(2.0, requires_grad=True)

        def closure(param: torch.Tensor = param) -> torch.Tensor:
            loss = param**2
            loss.backward()
            return loss

        assert kind([param]).step(closure).item() == 4.0
        assert param.item() < 2.0


def test_the_rules_can_be_captured_with_the_learning_rate_as_an_input() -> None:
    def clipped(param: Any, grad: Any, m: Any, v: Any, step: Any, lr: Any) -> None:
        clipped_adam(
            [param], [grad], [m], [v], [step], lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
            clip_norm=10.0, centered_variance=False,
        )  # fmt: skip

    def ada(param: Any, grad: Any, total: Any, step: Any) -> None:
        adagrad_rmsprop([param], [grad], [total], [step], eta=1.0, delta=1e-16, t=0.1)

    zero = torch.zeros((), dtype=torch.float64)
    for function, example in (
        (clipped, (torch.ones(3), torch.ones(3), torch.zeros(3), torch.zeros(3), zero, torch.tensor(0.1))),
        (ada, (torch.ones(3), torch.ones(3), torch.zeros(3), zero)),
    ):
        captured = make_fx(function)(*(value.clone() for value in example))
        one, other = [[value.clone() for value in example] for _ in range(2)]
        for scale in (1.0, 3.0, -2.0):
            for values, run in ((one, captured), (other, function)):
                values[1].fill_(scale)
                if len(values) == 6:
                    values[5].fill_(0.1 * abs(scale))
                run(*values)  # type: ignore[operator]
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert float(one[-1 if function is ada else 4]) == 3.0


@pytest.mark.parametrize("shape", [(7,), (7, 2)])
def test_a_time_series_moves_in_both_domains(shape: tuple[int, ...]) -> None:
    dim = -len(shape)
    param = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    param._pyro_dct_dim = dim  # type: ignore[attr-defined]
    param.grad = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grad = param.grad.clone()
    DCTAdam([param], lr=0.1, eps=0.0).step()
    # The first step of Adam is the sign of the gradient, in time and in frequency alike.
    padded = torch.zeros((8, *shape[1:]), dtype=torch.float64)
    padded[:7] = grad
    spectrum = torch.from_numpy(scipy.fft.dct(padded.numpy(), axis=0, norm="ortho"))
    waves = scipy.fft.idct(spectrum.sign().numpy(), axis=0, norm="ortho")[:7]
    torch.testing.assert_close(param.detach(), -0.1 * (grad.sign() + torch.from_numpy(waves)))


def test_frequencies_that_are_rounding_errors_are_no_steps() -> None:
    param = torch.zeros(20, requires_grad=True)
    param._pyro_dct_dim = -1  # type: ignore[attr-defined]
    param.grad = torch.full((20,), 30.0)
    DCTAdam([param], lr=0.1).step()
    # Cut off at all times, the gradient has one frequency, which is zero: its wave has the height of a root of 1/20.
    torch.testing.assert_close(param.detach(), torch.full((20,), -0.1 * (1 + 20**-0.5)))


def test_subsampled_parameters_change_in_the_drawn_entries_only() -> None:
    param = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    rule = DCTAdam([param], lr=0.1, subsample_aware=True)
    reference = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    small = DCTAdam([reference], lr=0.1)
    rows, columns = torch.tensor([0, 2]), [1, 2]
    param._pyro_subsample = {-2: rows, -1: columns}  # type: ignore[attr-defined]
    for step in range(4):
        param.grad = torch.full((4, 3), 1.0 + step, dtype=torch.float64)
        reference.grad = param.grad[:2, :2].clone()
        rule.step()
        small.step()
    drawn = param.detach()[rows][:, columns]
    torch.testing.assert_close(drawn, reference.detach())
    assert int((param != 0).sum()) == 4
    param._pyro_subsample = {-2: torch.tensor([1])}  # type: ignore[attr-defined]
    rule.step()
    assert rule.state[param]["step"].tolist() == [[0, 4, 4], [1, 1, 1], [0, 4, 4], [0, 0, 0]]


def test_a_subsampled_time_series_is_refused() -> None:
    param = torch.zeros(4, requires_grad=True)
    param._pyro_dct_dim, param._pyro_subsample = -1, {-1: [0]}  # type: ignore[attr-defined]
    param.grad = torch.ones(4)
    with pytest.raises(NotImplementedError, match="subsampled"):
        DCTAdam([param], subsample_aware=True).step()
