"""Clipping gives the bits that torch's own functions give, parameter by parameter, and over all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ember import optim
from ember.errors import OptimizerError
from ember.optim import PyroOptim
from ember.params import ParamStoreDict

from .training import give_gradient, leaves


@pytest.mark.parametrize("limit", [1e-3, 0.7, 2, 1e6])
@pytest.mark.parametrize(("key", "clip"), [("clip_norm", clip_grad_norm_), ("clip_value", clip_grad_value_)])
def test_each_parameter_by_itself(key: str, clip: Any, limit: float) -> None:
    params, expected = leaves() + leaves(dtype=torch.float32), leaves() + leaves(dtype=torch.float32)
    optimizer = PyroOptim(torch.optim.SGD, {"lr": 0.0}, {key: limit})
    for step in range(3):
        give_gradient(params, step)
        give_gradient(expected, step)
        optimizer(params)
        for param, other in zip(params, expected, strict=True):
            clip(other, limit)
            assert param.grad is not None
            assert other.grad is not None
            assert torch.equal(param.grad, other.grad)


@pytest.mark.parametrize("factory", [optim.Adam, optim.SGD])
def test_a_clipped_gradient_steps_like_a_small_one(factory: Any) -> None:
    x, y = torch.tensor(0.0, requires_grad=True), torch.tensor(0.0, requires_grad=True)
    clipped, free = factory({"lr": 1.0}, {"clip_norm": 0.5}), factory({"lr": 1.0})
    for step in range(3):
        x.grad, y.grad = torch.tensor(100.0 + step), torch.tensor(0.5)
        clipped([x])
        free([y])
        torch.testing.assert_close(x, y)


def test_norm_then_value() -> None:
    param = torch.zeros(2, requires_grad=True)
    param.grad = torch.tensor([30.0, 40.0])
    optim.SGD({"lr": 1.0}, {"clip_norm": 1.0, "clip_value": 0.7})([param])
    torch.testing.assert_close(param.detach(), torch.tensor([-0.6, -0.7]))


def test_global_norm_is_over_the_touched_parameters() -> None:
    params, expected = leaves(), leaves()
    optimizer = PyroOptim(torch.optim.SGD, {"lr": 0.0}, {"clip_global_norm": 0.5})
    for touched in (slice(0, 4), slice(1, 3)):
        give_gradient(params, 0)
        give_gradient(expected, 0)
        optimizer(params[touched])
        clip_grad_norm_(expected[touched], 0.5)
        grads = [param.grad for param in params[touched] if param.grad is not None]
        assert float(torch.stack([grad.pow(2).sum() for grad in grads]).sum().sqrt()) == pytest.approx(
            0.5, rel=1e-5
        )
        for grad, other in zip(grads, expected[touched], strict=True):
            assert torch.equal(grad, other.grad)  # type: ignore[arg-type]


def test_limits_by_name(store: ParamStoreDict) -> None:
    store["net$$$layer.weight"], store["scale"] = torch.zeros(1), torch.zeros(1)
    params = [leaf for _, leaf in store.named_parameters()]
    seen: list[Any] = []

    def by_full_name(name: str) -> dict[str, float]:
        seen.append(name)
        return {"clip_value": 0.5} if name == "scale" else {}

    def by_parts(module: str, name: str) -> dict[str, float]:
        seen.append((module, name))
        return {"clip_value": 0.5} if name == "scale" else {}

    for clip_args in (by_full_name, by_parts):
        for param in params:
            param.grad = torch.tensor([2.0])
        PyroOptim(torch.optim.SGD, {"lr": 1.0}, clip_args)(params)
        assert [float(param.grad) for param in params] == [2.0, 0.5]  # type: ignore[arg-type]
    assert seen == ["net.layer.weight", "scale", ("net", "layer.weight"), ("scale", "scale")]


def test_none_and_missing_gradients_are_no_clipping() -> None:
    params = leaves()
    optimizer = PyroOptim(
        torch.optim.SGD, {"lr": 1.0}, {"clip_norm": 1.0, "clip_value": None, "clip_global_norm": 1.0}
    )
    optimizer(params)
    give_gradient(params[:1], 0)
    optimizer(params)
    assert params[1].grad is None


def test_unknown_keys_are_refused_before_anything_changes() -> None:
    params = leaves()
    give_gradient(params, 0)
    before = [param.detach().clone() for param in params]
    optimizer = optim.Adam({"lr": 0.1}, {"clip_grad": 1.0})
    with pytest.raises(
        TypeError, match=r"PyroOptim\._clip_grad\(\) got an unexpected keyword argument 'clip_grad'"
    ):
        optimizer(params)
    assert len(optimizer.optim_objs) == 0
    assert all(torch.equal(param, value) for param, value in zip(params, before, strict=True))


def test_functions_must_return_dictionaries(store: ParamStoreDict) -> None:
    store["x"] = torch.zeros(1)
    with pytest.raises(AssertionError, match="per-param clip arg must return defaults dictionary"):
        optim.Adam({"lr": 0.1}, lambda name: 1.0)([store["x"]])
    with pytest.raises(AssertionError, match="clip_args must be function"):
        optim.Adam({"lr": 0.1}, 1.0)  # type: ignore[arg-type]


def test_a_global_norm_cannot_differ_by_parameter(store: ParamStoreDict) -> None:
    store["x"] = torch.zeros(1)
    with pytest.raises(OptimizerError, match="clip_global_norm"):
        optim.Adam({"lr": 0.1}, lambda name: {"clip_global_norm": 1.0})([store["x"]])
