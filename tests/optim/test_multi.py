"""Optimizers that differentiate the loss themselves."""

from __future__ import annotations

import pytest
import torch

import ember.optim as optim
from ember.optim.multi import (
    MixedMultiOptimizer,
    MultiOptimizer,
    Newton,
    PyroMultiOptimizer,
    TorchMultiOptimizer,
)

TARGET = torch.tensor([1.0, 3.0])


def parameters(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2, requires_grad=True) for name in names}


def quadratic(params: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum((p - TARGET).square().sum() + p.prod() for p in params.values())  # type: ignore[return-value]


@pytest.mark.parametrize(
    "made",
    [
        lambda: PyroMultiOptimizer(optim.Adam({"lr": 0.1})),
        lambda: TorchMultiOptimizer(torch.optim.Adam, {"lr": 0.1}),
        lambda: MixedMultiOptimizer(
            [(["a"], optim.Adam({"lr": 0.1})), (["b"], TorchMultiOptimizer(torch.optim.Adam, {"lr": 0.1}))]
        ),
    ],
)
def test_ordinary_optimizers_step_as_torch_does(made) -> None:
    params, other = parameters("a", "b"), parameters("a", "b")
    optimizer, reference = made(), torch.optim.Adam(list(other.values()), lr=0.1)
    for _ in range(3):
        optimizer.step(quadratic(params), params)
        reference.zero_grad()
        quadratic(other).backward()
        reference.step()
    for name, value in params.items():
        torch.testing.assert_close(value, other[name])
        assert value.is_leaf and value.grad is not None and value.grad.grad_fn is None


def test_newton_solves_a_quadratic_in_one_step() -> None:
    params = parameters("a")
    Newton().step(quadratic(params), params)
    hessian = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    torch.testing.assert_close(params["a"].detach(), torch.linalg.solve(hessian, 2 * TARGET))
    assert params["a"].is_leaf and params["a"].requires_grad


def test_a_radius_of_trust() -> None:
    params = parameters("a", "b")
    Newton({"a": 0.1}).step(quadratic(params), params)
    assert params["a"].norm() <= 0.1 + 1e-6 < params["b"].norm()


def test_steps_can_be_differentiated() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    params = parameters("a", "b")
    loss = sum((weight * p - TARGET).square().sum() for p in params.values())
    mixed = MixedMultiOptimizer([(["a"], Newton()), (["b"], Newton({"b": 1.0}))])
    updated = mixed.get_step(loss, params)
    (gradient,) = torch.autograd.grad(updated["a"].sum(), weight)
    torch.testing.assert_close(gradient, -TARGET.sum() / weight.detach() ** 2)
    assert not params["a"].any()  # nothing has moved


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="'a' by two different optimizers"):
        MixedMultiOptimizer([(["a"], Newton()), (["a"], Newton())])
    for base in (MultiOptimizer(), PyroMultiOptimizer(optim.SGD({"lr": 0.1}))):
        with pytest.raises(NotImplementedError, match=f"{type(base).__name__} defines no get_step"):
            base.get_step(torch.zeros(()), {})
