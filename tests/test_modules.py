"""Registering the parameters of torch modules."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


NAMES = ["net$$$0.weight", "net$$$0.bias", "net$$$1.weight", "net$$$1.bias"]


def test_parameters_are_the_modules_own():
    module = net()
    assert ember.module("net", module) is module
    assert list(ember.get_param_store()) == NAMES
    assert ember.param("net$$$0.weight") is module[0].weight
    assert poutine.trace(lambda: ember.module("net", module)).get_trace().param_nodes == NAMES


@pytest.mark.parametrize("compile", [False, True])
def test_parameters_of_any_layout_are_trained(compile):
    x, y = torch.randn(8, 3, 6, 6), torch.randn(8, 4)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 4))
    other = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    other[2].weight = nn.Parameter(other[2].weight.detach().t().contiguous().t())
    assert not other[0].weight.is_contiguous() and not other[2].weight.is_contiguous()

    def losses(module):
        def model():
            ember.module("net", module)
            with ember.plate("rows", 8):
                ember.sample("y", dist.Normal(module(x), 1.0).to_event(1), obs=y)

        svi = SVI(model, lambda: None, Adam({"lr": 0.01}), Trace_ELBO(), compile=compile, param_store="own")
        return [svi.step() for _ in range(4)]

    found = losses(other)
    assert found[-1] < found[0] - 1
    assert found == pytest.approx(losses(plain), rel=1e-5)
    torch.testing.assert_close(other[2].weight, plain[2].weight, rtol=1e-4, atol=1e-5)


def test_a_second_module_takes_the_stores_values_if_told_to():
    first, second = net(), net()
    own = second[1].bias
    ember.module("net", first)
    ember.module("net", second)
    assert second[1].bias is own
    ember.module("net", second, update_module_params=True)
    assert all(p is q for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_frozen_parameters_are_left_out():
    module = nn.Linear(2, 1)
    module.weight.requires_grad_(False)
    with pytest.warns(
        UserWarning, match="weight was not registered in the param store because requires_grad=False"
    ):
        ember.module("net", module)
    assert list(ember.get_param_store()) == ["net$$$bias"]
    ember.module("net", module.eval())  # no warning when not training


def test_shared_parameters_are_one():
    inner = nn.Linear(2, 2)
    ember.module("net", nn.Sequential(inner, inner))
    assert list(ember.get_param_store()) == ["net$$$0.weight", "net$$$0.bias"]


def test_what_cannot_be_registered():
    with pytest.raises(AssertionError, match="improper module name, since contains"):
        ember.module("a$$$b", net())
    with pytest.raises(AssertionError, match="module has no parameters"):
        ember.module("net", 3)
    with pytest.raises(NotImplementedError, match=r"does not support class constructors.*Linear"):
        ember.module("net", nn.Linear)
    assert len(ember.get_param_store()) == 0


def test_lifted_modules_are_random():
    module = nn.Linear(2, 1)
    prior = {
        "weight": dist.Normal(torch.zeros(1, 2), 1.0).to_event(2),
        "bias": dist.Normal(torch.zeros(1), 1.0).to_event(1),
    }

    def model():
        return ember.module("net", nn.Linear(2, 1), update_module_params=True)

    trace = poutine.trace(poutine.lift(model, prior=prior)).get_trace()
    lifted = trace.nodes["_RETURN"]["value"]
    assert lifted.weight is trace.nodes["net$$$weight"]["value"]
    assert not trace.nodes["net$$$bias"]["is_observed"]
    assert lifted(torch.ones(2)).shape == module(torch.ones(2)).shape


def test_gradients_arrive_at_the_module():
    module = net()
    ember.module("net", module)
    loss = module(torch.ones(2)).sum()
    loss.backward()
    assert ember.get_param_store()._params["net$$$0.weight"].grad is module[0].weight.grad is not None
