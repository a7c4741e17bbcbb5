"""The compiled loss is the eager one, as a module of torch's own loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember.errors import NonFiniteLossError
from ember.infer import SVI, Trace_ELBO
from ember.train import CompiledLoss
from tests.train.regression import data, guide, of_batch

MODES = pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])


def new(compile: Any, model: Any = of_batch) -> CompiledLoss:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    return CompiledLoss(model, guide, Trace_ELBO(), compile=compile)


def leaves() -> list[torch.Tensor]:
    return [leaf for _, leaf in ember.get_param_store().named_parameters()]


@MODES
def test_loss_and_gradients_are_those_of_the_objective(compile: Any) -> None:
    loss = new(compile)
    loss.leaves(*data())
    for seed in range(4):
        ember.set_rng_seed(seed)
        value = loss(*data())
        (3 * value).backward()
        found = [leaf.grad.clone() for leaf in leaves() if leaf.grad is not None]
        for leaf in leaves():
            leaf.grad = None
        ember.set_rng_seed(seed)
        expected = Trace_ELBO().differentiable_loss(of_batch, guide, *data())
        (3 * expected).backward()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(found, [leaf.grad for leaf in leaves()], rtol=1e-4, atol=1e-4)
        for leaf in leaves():
            leaf.grad = None


@MODES
def test_gradients_accumulate(compile: Any) -> None:
    loss = new(compile)
    made = loss.leaves(*data())
    assert all(leaf.grad is None for leaf in made)
    once = []
    for seed in (1, 2, 3):
        ember.set_rng_seed(seed)
        loss(*data()).backward()
        once.append([leaf.grad.clone() for leaf in made])
        for leaf in made:
            leaf.grad = None
    for seed in (1, 2, 3):
        ember.set_rng_seed(seed)
        loss(*data()).backward()
    for index, leaf in enumerate(made):
        torch.testing.assert_close(leaf.grad, sum(each[index] for each in once), rtol=1e-4, atol=1e-4)


@MODES
def test_training_by_torch_is_training_by_svi(compile: Any) -> None:
    loss = new(compile)
    adam = torch.optim.Adam(loss.leaves(*data()), lr=0.05)
    losses = []
    for _ in range(6):
        adam.zero_grad()
        value = loss(*data())
        value.backward()
        adam.step()
        losses.append(value.item())
    found = [leaf.tolist() for leaf in leaves()]
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(of_batch, guide, ember.optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=compile)
    torch.testing.assert_close(losses, [svi.step(*data()) for _ in range(6)], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found, [leaf.tolist() for leaf in leaves()], rtol=1e-4, atol=1e-5)


def test_it_is_one_program() -> None:
    loss = new(True)
    for _ in range(5):
        loss(*data()).backward()
    report = ember.capture.explain(loss._svi)
    assert len(report.captures) == 1 and report.captures[0].calls >= 3


def test_modules_are_submodules() -> None:
    net = torch.nn.Linear(3, 1)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> None:
            ember.module("net", self.net)
            with ember.plate("data", len(x)):
                ember.sample("y", dist.Normal(self.net(x)[:, 0], 1.0), obs=y)

    def nothing(x: torch.Tensor, y: torch.Tensor) -> None: ...

    ember.clear_param_store()
    loss = CompiledLoss(Model(), nothing, Trace_ELBO())
    assert set(map(id, loss.parameters())) == set(map(id, net.parameters()))
    sgd = torch.optim.SGD(loss.parameters(), lr=0.01)
    values = []
    for _ in range(30):
        sgd.zero_grad()
        value = loss(*data())
        value.backward()
        sgd.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    with torch.no_grad():
        assert loss(*data()).requires_grad is False


def test_a_loss_that_is_not_finite_leaves_gradients_alone() -> None:
    loss = new(False)
    made = loss.leaves(*data())
    loss(*data()).backward()
    before = [leaf.grad.clone() for leaf in made]
    with ember.validation_enabled(False), pytest.raises(NonFiniteLossError):
        loss(data()[0], data()[1] * torch.nan)
    assert all(torch.equal(leaf.grad, grad) for leaf, grad in zip(made, before, strict=True))
