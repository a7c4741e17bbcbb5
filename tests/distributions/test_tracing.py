"""Distributions under torch's tracers and function transforms."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

import ember.distributions as dist

X = tensor([0.3, 0.6])
LOC, SCALE = tensor([0.1, 0.2]), tensor([1.0, 2.0])

DENSITIES: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "Normal": lambda loc, scale, x: dist.Normal(loc, scale).to_event(1).log_prob(x),
    "LogNormal": lambda loc, scale, x: dist.LogNormal(loc, scale).expand((3, 2)).log_prob(x),
    "Gamma": lambda loc, scale, x: dist.Gamma(scale, loc.exp()).mask(x > 0.5).log_prob(x),
    "Delta": lambda loc, scale, x: dist.Delta(x, event_dim=1).log_prob(x) + loc.sum(),
    "Categorical": lambda loc, scale, x: _enumerated(dist.Categorical(logits=loc)),
    "Binomial": lambda loc, scale, x: dist.Binomial(3.0, logits=loc).log_prob(x.round()),
}


def _enumerated(d: Any) -> Any:
    return d.log_prob(d.enumerate_support(expand=False))


@pytest.mark.parametrize("name", sorted(DENSITIES))
def test_make_fx(name: str) -> None:
    f = DENSITIES[name]
    with dist.validation_enabled(False):
        graph = make_fx(f)(LOC, SCALE, X)
        args = (LOC + 0.5, SCALE + 0.5, X / 2)
        assert_close(graph(*args), f(*args))


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("name", sorted(DENSITIES))
def test_jit_trace(name: str, validate: bool) -> None:
    f = DENSITIES[name]
    with dist.validation_enabled(validate), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jit: deprecated, and it warns of every check that it traces
        traced = torch.jit.trace(f, (LOC, SCALE, X), check_trace=False)
    args = (LOC + 0.5, SCALE + 0.5, X / 2)
    assert_close(traced(*args), f(*args))


@pytest.mark.parametrize("name", sorted(DENSITIES))
def test_func_grad(name: str) -> None:
    def total(loc: Tensor) -> Tensor:
        return DENSITIES[name](loc, SCALE, X).sum()

    loc = LOC.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(loc), loc, allow_unused=True, materialize_grads=True)
    assert_close(torch.func.grad(total)(LOC), expected)


def test_vmap_without_validation() -> None:
    locs = torch.randn(5, 2)
    with dist.validation_enabled(False):
        batched = torch.func.vmap(lambda loc: dist.Normal(loc, SCALE).log_prob(X))(locs)
    assert_close(batched, dist.Normal(locs, SCALE).log_prob(X))


def test_fake_tensors() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), dist.validation_enabled(False):
        d = dist.Normal(torch.zeros(3, 2), torch.ones(2)).to_event(1)
        assert d.log_prob(d.rsample(torch.Size((4,)))).shape == (4, 3)
