"""The pure rules give the bits of torch's plain optimizers, and of Ember's own classes, over the table of rules and options."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ember.optim.adagrad_rmsprop import AdagradRMSProp
from ember.optim.clipped_adam import ClippedAdam
from ember.optim.dct_adam import DCTAdam
from ember.optim.flat.blocks import Block
from ember.optim.rule_table import RULES
from ember.optim.rules import clipping
from ember.optim.rules.rule import Rule

STEPS = 60
SHAPES = [(), (3,), (5, 7), (37,)]


class Case(NamedTuple):
    kind: type[torch.optim.Optimizer]
    options: dict[str, Any]


DECAY, UP, BOTH = {"weight_decay": 0.1}, {"maximize": True}, {"weight_decay": 0.1, "maximize": True}
NESTEROV = {"momentum": 0.9, "nesterov": True}
OPTIONS: dict[type[torch.optim.Optimizer], list[dict[str, Any]]] = {
    torch.optim.ASGD: [{}, {"t0": 3.0, "lambd": 0.1, "alpha": 0.6, **BOTH}],
    torch.optim.Adadelta: [{}, {"rho": 0.7, "eps": 1e-3, **BOTH}],
    torch.optim.Adagrad: [{}, {"lr_decay": 0.1, "eps": 1e-3}, {"initial_accumulator_value": 0.3, **BOTH}],
    torch.optim.Adam: [{}, {"amsgrad": True}, DECAY, UP, {"betas": (0.5, 0.7), "eps": 1e-3, "amsgrad": True, **BOTH}],
    torch.optim.AdamW: [{}, {"amsgrad": True, "maximize": True}, {"weight_decay": 0.0}],
    torch.optim.Adamax: [{}, {"betas": (0.5, 0.7), "eps": 1e-3, **BOTH}],
    torch.optim.NAdam: [{}, {"momentum_decay": 0.1, **BOTH}, {"decoupled_weight_decay": True, **DECAY}],
    torch.optim.RAdam: [{}, {"betas": (0.5, 0.7), **BOTH}, {"decoupled_weight_decay": True, **DECAY}],
    torch.optim.RMSprop: [{}, {"centered": True}, {"momentum": 0.5}, {"momentum": 0.5, "centered": True, **BOTH}],
    torch.optim.Rprop: [{}, {"etas": (0.3, 1.5), "step_sizes": (1e-4, 0.5), **UP}],
    torch.optim.SGD: [{}, BOTH, {"momentum": 0.9, "dampening": 0.3, **BOTH}, {**NESTEROV, **BOTH}],
    AdagradRMSProp: [{}, {"eta": 0.3, "delta": 0.1, "t": 0.4}],
    ClippedAdam: [{}, {"clip_norm": 0.5, "lrd": 0.9, **DECAY}, {"centered_variance": True, "betas": (0.5, 0.7)}],
    DCTAdam: [{}, {"clip_norm": 0.5, "lrd": 0.9}],
}  # fmt: skip
CASES = [Case(kind, options) for kind, each in OPTIONS.items() for options in each]
CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case.kind.__name__, *case.options]))


def plain(case: Case, param: Tensor) -> torch.optim.Optimizer:
    made: Any = case.kind
    optimizer: torch.optim.Optimizer = made([param], **case.options)
    if "foreach" in optimizer.param_groups[0]:
        optimizer.param_groups[0]["foreach"] = False
    return optimizer


def gradients(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    return [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(STEPS)]


def options_of(rule: Rule[Any, Any], group: dict[str, Any]) -> Any:
    options = rule.options_of(group)
    if rule.next_rate is None:
        return options
    return rule.options_of(group, lr=rule.next_rate(group["lr"], options))


def test_every_rule_is_here() -> None:
    assert set(OPTIONS) == set(RULES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@CASE
def test_the_bits_are_those_of_torch(case: Case, dtype: torch.dtype) -> None:
    rule = RULES[case.kind]
    for shape in SHAPES:
        grads = gradients(shape, dtype)
        param = torch.linspace(-1, 1, max(1, torch.Size(shape).numel()), dtype=dtype).reshape(shape)
        other = param.clone().requires_grad_()
        optimizer = plain(case, other)
        state = rule.init(param, options_of(rule, optimizer.param_groups[0]))
        for grad in grads:
            options = options_of(rule, optimizer.param_groups[0])
            other.grad = grad + other.detach()
            param, state = rule.update(param, grad + param, state, options)
            optimizer.step()
            # Torch's vector code fuses products and sums on some processors: there the last bits differ.
            last_bits = 64 * torch.finfo(dtype).eps
            torch.testing.assert_close(param, other.detach(), rtol=last_bits, atol=last_bits)
        known = optimizer.state[other]
        values = {key: value for key, value in state._asdict().items() if value is not None}
        assert values.keys() == known.keys()
        for key, value in values.items():
            assert torch.equal(value, known[key]) and value.dtype == known[key].dtype, key


@CASE
def test_nothing_is_changed_in_place_and_a_tensor_is_a_rate(case: Case) -> None:
    rule = RULES[case.kind]
    param = torch.linspace(-1, 1, 6, dtype=torch.float64)
    group = plain(case, param.clone().requires_grad_()).param_groups[0]
    options = options_of(rule, group)
    grad, state = param - 0.3, rule.init(param, options)
    param, state = rule.update(param, grad, state, options)
    before = [value.clone() for value in (param, grad, *state) if value is not None]
    expected, expected_state = rule.update(param, grad, state, options)
    after = [value for value in (param, grad, *state) if value is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    if "lr" not in group:
        return
    rate = torch.tensor(options.lr, dtype=torch.float64)
    result, result_state = rule.update(param, grad, state, rule.options_of(group, lr=rate))
    torch.testing.assert_close(result, expected, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(list(result_state), list(expected_state), rtol=1e-14, atol=1e-15)


@CASE
def test_a_flat_buffer_is_updated_as_its_parameters(case: Case) -> None:
    rule = RULES[case.kind]
    params = [torch.randn(shape, dtype=torch.float64) for shape in [(2,), (2,), (), (3, 2), ()]]
    group = plain(case, params[0].clone().requires_grad_()).param_groups[0]
    options = options_of(rule, group)
    block = Block([param.shape for param in params])
    states = [rule.init(param, options) for param in params]
    grads = [param - 0.5 for param in params]
    # Counts differ: each parameter has its own.
    for i in range(3):
        params[i], states[i] = rule.update(params[i], grads[i], states[i], options)
    present = [key for key in rule.fields if getattr(states[0], key) is not None]
    if case.kind is torch.optim.SGD and present:
        for i in (3, 4):
            params[i], states[i] = rule.update(params[i], grads[i], states[i], options)
    flat = {}
    for key in present:
        values = [getattr(state, key) for state in states]
        flat[key] = block.gather_numbers(values) if key in rule.numbers else block.gather(values)
    after, new = rule.update(
        block.gather(params), block.gather(grads), rule.state_of(flat), options, block.spread
    )
    for i, piece in enumerate(block.pieces(after)):
        expected, expected_state = rule.update(params[i], grads[i], states[i], options)
        torch.testing.assert_close(piece, expected, rtol=1e-13, atol=1e-15)
        for key in present:
            value = getattr(new, key)
            own = block.number_pieces(value)[i] if key in rule.numbers else block.pieces(value)[i]
            torch.testing.assert_close(own, getattr(expected_state, key), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [1e-3, 0.7, 1e6])
def test_clipping_is_that_of_torch(limit: float, dtype: torch.dtype) -> None:
    grads = [torch.randn(shape, dtype=dtype) for shape in [(), (3,), (5, 7)]]
    for grad in grads:
        param = torch.zeros_like(grad).requires_grad_()
        param.grad = grad.clone()
        torch.nn.utils.clip_grad_value_(param, limit)
        assert torch.equal(clipping.clip_values(grad, limit), param.grad)
        param.grad = grad.clone()
        torch.nn.utils.clip_grad_norm_(param, limit)
        assert torch.equal(clipping.clip_norms(grad, limit), param.grad)
        stacked = clipping.clip_norms(torch.stack([grad, grad * 3]), limit, grad.dim())
        torch.testing.assert_close(stacked[0], param.grad)
        torch.testing.assert_close(stacked[1], clipping.clip_norms(grad * 3, limit))
    params = [torch.zeros_like(grad).requires_grad_() for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    torch.nn.utils.clip_grad_norm_(params, limit)
    for clipped, param in zip(clipping.clip_global_norm(grads, limit), params, strict=True):
        assert torch.equal(clipped, param.grad)  # type: ignore[arg-type]
