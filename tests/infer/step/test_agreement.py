"""The comparison with an eager step: what is no more than rounding is no difference, what is more is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import ember
import ember.distributions as dist
from ember.errors import CaptureMismatchError
from ember.infer import SVI, Trace_ELBO
from ember.infer.step import agreement


def normalised(seed: int) -> tuple[SVI, torch.Tensor]:
    """The gradient of a bias that a normalisation takes away again is 0, but for the rounding of terms that are large."""
    ember.clear_param_store()
    ember.set_rng_seed(seed)
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))

    def model(x: torch.Tensor) -> None:
        with ember.plate("rows", 4000, subsample_size=len(x)):
            z = ember.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            ember.sample(
                "x", dist.Normal(z.sum(-1, keepdim=True), 0.1).expand([len(x), 3]).to_event(1), obs=x
            )

    def guide(x: torch.Tensor) -> None:
        ember.module("encoder", encoder)
        with ember.plate("rows", 4000, subsample_size=len(x)):
            ember.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    by_torch = ember.optim.PyroOptim(torch.optim.SGD, {"lr": 1e-7, "momentum": 0.0, "nesterov": False})
    by_torch.exchange_by(lambda loss, grads: loss)  # so that torch takes the step
    return SVI(model, guide, by_torch, Trace_ELBO(), compile=True), torch.randn(2, 3)


@pytest.mark.parametrize("seed", [1, 2])
def test_rounding_of_large_gradients_is_no_difference(seed: int) -> None:
    svi, x = normalised(seed)
    for _ in range(3):
        svi.step(x)


def test_a_small_gradient_that_is_large_in_the_program_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    svi, x = normalised(0)
    answer = agreement._answer

    def wrong(program: Any, inputs: Any) -> Any:
        loss, *grads = answer(program, inputs)
        return [loss, *[grad + 0.1 * grad.abs().max() + 0.1 for grad in grads]]

    monkeypatch.setattr(agreement, "_answer", wrong)
    svi.step(x)
    with pytest.raises(CaptureMismatchError, match="the gradient of parameter"):
        svi.step(x)
