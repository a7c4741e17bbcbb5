"""Draws of sites that were summed out against their exact posterior."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.report import joint_draws

Y = torch.tensor([0.2, -0.4, 1.1, 1.9, 2.2], dtype=torch.float64)


def switch(y: Tensor) -> None:
    """The mean is 0 up to tau, and ``level`` after it."""
    level = ember.sample("level", dist.Normal(torch.tensor(2.0, dtype=torch.float64), 0.5))
    tau = ember.sample("tau", dist.Categorical(torch.ones(5, dtype=torch.float64)))
    with ember.plate("rows", 5):
        ember.sample("y", dist.Normal(torch.where(torch.arange(5) <= tau, 0.0, level), 1.0), obs=y)


def exact(level: Tensor) -> Tensor:
    """Probabilities of tau given the level."""
    means = torch.where(torch.arange(5) <= torch.arange(5)[:, None], 0.0, level)
    return dist.Normal(means, 1.0).log_prob(Y).sum(-1).softmax(-1)


def test_discrete_sites_have_their_posterior() -> None:
    torch.manual_seed(0)
    level = torch.full((400,), 2.0, dtype=torch.float64)
    found = joint_draws(switch, {"level": level}, Y, num_samples=400)
    assert torch.equal(found["level"], level)
    shares = found["tau"].flatten().bincount(minlength=5) / 400
    torch.testing.assert_close(shares.double(), exact(level[:1]), atol=0.08, rtol=0.0)
    assigned = ember.assign(switch, {"level": level[:2]}, "tau", Y)
    torch.testing.assert_close(assigned.probs, exact(level[:1]))


def test_a_change_point_can_be_left_out_by_observation() -> None:
    pytest.importorskip("arviz")
    torch.manual_seed(0)
    fit = ember.fit(switch, Y, seed=0, draws=100, progress=False)
    with pytest.raises(ValueError, match="joint_draws"):
        ember.loo(fit)
    draws = joint_draws(fit)
    assert draws["tau"].shape[0] == 100
    found = ember.waic(switch, draws, Y)
    assert len(found.pointwise) == 5


def test_without_discrete_sites_the_draws_are_as_they_are() -> None:
    def model(y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(mu, 1.0), obs=y)

    draws = {"mu": torch.arange(4.0)}
    assert torch.equal(joint_draws(model, draws, torch.tensor(0.0))["mu"], draws["mu"])
