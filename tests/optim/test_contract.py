"""Every optimizer of the table takes the steps that torch takes, one plain optimizer a parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ember.optim import PyroOptim

from .tables import RULES, Rule
from .training import give_gradient, leaves

# torch's own Adagrad makes sparse tensors without saying whether to check them.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.label}-{rule.gradient}")


def plain_optimizer(rule: Rule, param: Tensor, **changes: Any) -> torch.optim.Optimizer:
    options = {**rule.options, **changes}
    optimizer = rule.kind([param], **options)
    if "foreach" in optimizer.param_groups[0]:
        optimizer.param_groups[0]["foreach"] = False
    return optimizer


def assert_same(params: list[Tensor], expected: list[Tensor], step: int) -> None:
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12, msg=lambda m: f"step {step}: {m}")


@RULE
def test_steps_are_those_of_one_plain_torch_optimizer_a_parameter(rule: Rule) -> None:
    params, expected = leaves(rule.gradient), leaves(rule.gradient)
    optimizer = PyroOptim(rule.kind, rule.options)
    plain = [plain_optimizer(rule, param) for param in expected]
    for step in range(50):
        # The last parameter comes late, and the first rests in every third step.
        touched = [
            i
            for i in range(len(params))
            if not (i == len(params) - 1 and step < 10) and not (i == 0 and step % 3 == 2)
        ]
        give_gradient([params[i] for i in touched], step, rule.gradient)
        give_gradient([expected[i] for i in touched], step, rule.gradient)
        optimizer([params[i] for i in touched])
        for i in touched:
            plain[i].step()
        assert_same(params, expected, step)
    assert len(optimizer.optim_objs) == len(params)


@RULE
def test_state_and_options_are_those_of_the_plain_optimizer(rule: Rule) -> None:
    params, expected = leaves(rule.gradient), leaves(rule.gradient)
    optimizer = PyroOptim(rule.kind, rule.options)
    for step in range(3):
        give_gradient(params, step, rule.gradient)
        give_gradient(expected, step, rule.gradient)
        optimizer(params)
    for param, other in zip(params, expected, strict=True):
        plain = rule.kind([other], **rule.options)
        other.grad = None
        own = optimizer.optim_objs[param]
        assert type(own) is type(plain)
        for key, value in plain.param_groups[0].items():
            if key not in ("params", "lr"):
                assert own.param_groups[0][key] == value
        if "step" in own.state_dict()["state"].get(0, {}):
            assert own.state_dict()["state"][0]["step"] == 3


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("layout", ["expanded gradient", "transposed gradient", "strided", "transposed"])
def test_memory_layout_does_not_change_the_numbers(kind: Any, layout: str) -> None:
    def make() -> tuple[Tensor, Tensor]:
        grad = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]], dtype=torch.float64)
        if layout == "expanded gradient":
            return torch.zeros(2, 3, dtype=torch.float64).requires_grad_(), grad[:1, :1].expand(2, 3)
        if layout == "transposed gradient":
            return torch.zeros(2, 3, dtype=torch.float64).requires_grad_(), grad.t().contiguous().t()
        if layout == "strided":
            return torch.zeros(2, 6, dtype=torch.float64)[:, ::2].requires_grad_(), grad
        return torch.zeros(3, 2, dtype=torch.float64).t().requires_grad_(), grad

    (param, grad), (other, _) = make(), make()
    optimizer, plain = PyroOptim(kind, {"lr": 0.1}), kind([other], lr=0.1, foreach=False)
    for scale in (1.0, -0.3, 0.7):
        param.grad = grad if scale == 1.0 else grad * scale
        other.grad = param.grad.clone()
        optimizer([param])
        plain.step()
    torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)


def test_a_parameter_whose_data_is_replaced_by_a_strided_view_keeps_the_right_numbers() -> None:
    param, other = leaves()[2], leaves()[2]
    optimizer, plain = (
        PyroOptim(torch.optim.Adam, {"lr": 0.1}),
        torch.optim.Adam([other], lr=0.1, foreach=False),
    )
    for step in range(6):
        if step == 3:
            param.data = param.data.t().contiguous().t()
        give_gradient([param], step)
        give_gradient([other], step)
        optimizer([param])
        plain.step()
        torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)


def test_parameters_without_a_gradient_stay_as_they_are() -> None:
    params = leaves()
    before = [param.detach().clone() for param in params]
    optimizer = PyroOptim(torch.optim.Adam, {"lr": 0.1})
    optimizer(params)
    give_gradient(params[1:], 0)
    optimizer(params)
    assert torch.equal(params[0], before[0])
    assert optimizer.optim_objs[params[0]].state_dict()["state"] == {}
    assert not torch.equal(params[1], before[1])


@pytest.mark.parametrize(
    "collect", [list, set, tuple, iter, lambda ps: dict(enumerate(ps)).values(), lambda ps: ps * 2]
)
def test_any_iterable_is_a_set_of_parameters(collect: Any) -> None:
    params, expected = leaves(), leaves()
    give_gradient(params, 0)
    give_gradient(expected, 0)
    PyroOptim(torch.optim.SGD, {"lr": 0.1})(collect(params))
    for param in expected:
        torch.optim.SGD([param], lr=0.1).step()
    assert_same(params, expected, 0)


def test_mixed_dtypes_are_stepped_together() -> None:
    params = (
        leaves(dtype=torch.float32)[:2]
        + leaves()[:2]
        + [torch.zeros(2, dtype=torch.complex128, requires_grad=True)]
    )
    expected = [param.detach().clone().requires_grad_() for param in params]
    optimizer = PyroOptim(torch.optim.Adam, {"lr": 0.1})
    plain = [torch.optim.Adam([param], lr=0.1, foreach=False) for param in expected]
    for step in range(5):
        for group in (params, expected):
            give_gradient(group[:4], step)
            group[4].grad = group[4].detach() - (1 + 2j)
        optimizer(params)
        for each in plain:
            each.step()
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other)


class Foreign(torch.optim.Optimizer):
    """A rule whose step changes its own options, and whose state depends on the number of parameters in the group."""

    def __init__(self, params: Any, rate: float, decay: float) -> None:
        super().__init__(params, {"rate": rate, "decay": decay})
        self.calls = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.calls += 1
        for group in self.param_groups:
            group["rate"] *= group["decay"]
            total = sum(float(param.grad.abs().sum()) for param in group["params"])
            for param in group["params"]:
                state = self.state[param]
                state["sum"] = state.get("sum", torch.zeros_like(param)) + param.grad / total
                param -= group["rate"] * state["sum"]


@pytest.mark.parametrize("constructor", [Foreign, lambda params, **options: Foreign(params, **options)])
def test_foreign_optimizers_step_each_parameter_by_itself(constructor: Any) -> None:
    params, expected = leaves(), leaves()
    optimizer = PyroOptim(constructor, {"rate": 0.1, "decay": 0.9})
    plain = [Foreign([param], 0.1, 0.9) for param in expected]
    for step in range(10):
        give_gradient(params, step)
        give_gradient(expected, step)
        optimizer(params)
        for each in plain:
            each.step()
    assert_same(params, expected, 10)
    assert optimizer.optim_objs[params[0]].calls == 10
    assert optimizer.optim_objs[params[0]].param_groups[0]["rate"] == plain[0].param_groups[0]["rate"]


class Declared(Foreign):
    parameterwise = True

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["rate"] *= group["decay"]
            for param in group["params"]:
                param -= group["rate"] * param.grad


def test_a_foreign_optimizer_may_declare_itself_parameterwise() -> None:
    params, expected = leaves(), leaves()
    optimizer = PyroOptim(Declared, {"rate": 0.1, "decay": 0.9})
    plain = [Declared([param], 0.1, 0.9) for param in expected]
    for step in range(4):
        for group in (params, expected):
            give_gradient(group, step)
        optimizer(params)
        for each in plain:
            each.step()
    assert_same(params, expected, 4)
    for param, each in zip(params, plain, strict=True):
        assert optimizer.optim_objs[param].param_groups[0]["rate"] == each.param_groups[0]["rate"]


def test_step_hooks_of_a_parameters_optimizer_run() -> None:
    params = leaves()
    optimizer = PyroOptim(torch.optim.Adam, {"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    calls: list[str] = []
    optimizer.optim_objs[params[0]].register_step_post_hook(lambda *_: calls.append("post"))
    optimizer(params)
    assert calls == ["post"]
    assert optimizer.optim_objs[params[0]].state_dict()["state"][0]["step"] == 2


def test_a_closure_is_passed_on() -> None:
    param = leaves()[1]
    calls: list[int] = []

    def closure() -> Tensor:
        calls.append(1)
        assert torch.is_grad_enabled()
        loss = (param**2).sum()
        loss.backward()
        return loss

    PyroOptim(torch.optim.SGD, {"lr": 0.1})([param], closure)
    assert calls == [1]
