"""A regression as a user writes it: mypy --strict has nothing to say, and knows what comes back."""

from __future__ import annotations

from typing import assert_type

import torch
from torch import Tensor

import ember
from ember import distributions as dist
from ember import optim
from ember.fit.result import Fit
from ember.infer import SVI, Predictive, ReweightedWakeSleep, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.infer.step.loop import SVIResult


def model(x: Tensor, y: Tensor | None = None) -> Tensor:
    slope = ember.sample("slope", dist.Normal(0.0, 1.0))
    assert_type(slope, Tensor)
    noise = ember.param("noise", torch.tensor(0.1), constraint=dist.constraints.positive)
    assert_type(noise, Tensor)
    with ember.plate("data", len(x)):
        mean = assert_type(ember.deterministic("mean", slope * x), Tensor)
        return ember.sample("y", dist.Normal(mean, noise).mask(x > 0.0), obs=y)


def guide(x: Tensor, y: Tensor | None = None) -> None:
    loc = ember.param("loc", lambda: torch.tensor(0.0))
    ember.sample("slope", dist.Delta(loc), infer={"is_auxiliary": False})


x = torch.linspace(0.1, 1.0, 10)
y = 2.0 * x

svi = SVI(model, guide, optim.Adam({"lr": 0.01}), Trace_ELBO(), compile="auto")
assert_type(svi, SVI[float])
assert_type(svi.step(x, y), float)
assert_type(svi.evaluate_loss(x, y=y), float)
assert_type(svi.run(3, x, y, progress=False), SVIResult)
assert_type(svi.run(x, y, until="converged", max_steps=3000, progress=False), SVIResult)

two_losses = SVI(model, guide, optim.Adam({"lr": 0.01}), ReweightedWakeSleep())
assert_type(two_losses.step(x, y), tuple[float, ...])


def own_loss(model: object, guide: object, x: Tensor, y: Tensor) -> Tensor:
    return torch.zeros((), requires_grad=True)


assert_type(SVI(model, guide, optim.Adam({}), own_loss).step(x, y), float)

automatic = AutoNormal(model)
automatic(x, y)
predictive = Predictive(model, guide=automatic, num_samples=10, return_sites=("y",))
assert_type(predictive(x), dict[str, Tensor])
assert_type(predictive.forward(x)["y"], Tensor)

fitted = ember.fit(model, x, y, guide="full-rank", draws=1000, progress=False)
assert_type(fitted, Fit)
if fitted.verdict:
    status: str = fitted.verdict.status
