"""Tail-adaptive weights: by rank of the importance weights, with no value of the loss."""

from __future__ import annotations

import math

import pytest
import torch
from tests import zoo

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.errors import NonFiniteLossError
from ember.infer import SVI, TraceTailAdaptive_ELBO
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("beta", [-1.0, -0.5])
def test_the_gradient_is_weighed_by_rank(beta):
    """The particle of the largest weight counts most (Wang, Liu and Liu, 2018, algorithm 1)."""

    def model():
        ember.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.7)), 1.5))

    elbo = TraceTailAdaptive_ELBO(
        num_particles=6, vectorize_particles=True, max_plate_nesting=0, tail_adaptive_beta=beta
    )
    ember.set_rng_seed(0)
    assert elbo.loss_and_grads(model, guide) == math.inf
    ember.set_rng_seed(0)
    loc = ember.param("loc")
    z = dist.Normal(loc, 1.5).rsample([6])
    log_w = dist.Normal(0.0, 1.0).log_prob(z) - dist.Normal(loc.detach(), 1.5).log_prob(z)
    gamma = (log_w[None] >= log_w[:, None]).double().mean(-1).pow(beta)
    expected = torch.autograd.grad(-(gamma / gamma.sum() * log_w).sum(), loc)[0] / 6
    torch.testing.assert_close(loc.unconstrained().grad, expected)


@pytest.mark.parametrize("compile", [False, True])
def test_training_reaches_the_posterior(compile):
    known = zoo.normal_normal()
    elbo = TraceTailAdaptive_ELBO(num_particles=20, vectorize_particles=True)
    svi = SVI(known.model, known.guide, Adam({"lr": 0.02}), elbo, compile=compile)
    svi.programs.backend = Interpreter()
    losses = svi.run(500, *known.args, progress=False).losses
    assert torch.all(losses == math.inf) and svi.step(*known.args) == math.inf
    (mean, sd), (exact_mean, exact_sd) = known.moments()["mean"], known.posterior["mean"]
    assert mean == pytest.approx(exact_mean, abs=0.15 * exact_sd) and sd == pytest.approx(exact_sd, rel=0.15)
    if compile:
        assert svi.capture_report.num_captures == 1 and svi.capture_report.eager_calls == 1


@pytest.mark.parametrize("compile", [False, True])
def test_what_is_differentiated_must_be_finite(compile):
    def model(x):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z, 1.0, validate_args=False), obs=x)

    def guide(x):
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 1.0))

    elbo = TraceTailAdaptive_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(model, guide, Adam({"lr": 0.1}), elbo, compile=compile)
    svi.programs.backend = Interpreter()
    with ember.infer.traces.validate_all.validation_enabled(False):
        for _ in range(3):
            svi.step(torch.tensor(0.5))
        before = ember.param("loc").detach().clone()
        with pytest.raises(NonFiniteLossError):
            svi.step(torch.tensor(float("nan")))
        assert torch.equal(ember.param("loc"), before)
        svi.step(torch.tensor(0.5))
    assert not torch.equal(ember.param("loc"), before)


def test_what_it_cannot_do():
    model = lambda: ember.sample("z", dist.Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="Loss method for TraceTailAdaptive_ELBO not implemented"):
        TraceTailAdaptive_ELBO(vectorize_particles=True).loss(model, model)
    with pytest.raises(NotImplementedError, match="only implemented for vectorize_particles==True"):
        TraceTailAdaptive_ELBO(num_particles=2).loss_and_grads(model, model)
    with pytest.warns(UserWarning, match="For num_particles==1"):
        TraceTailAdaptive_ELBO(vectorize_particles=True).loss_and_grads(model, model)
    discrete = lambda: ember.sample("z", dist.Bernoulli(0.5))
    with pytest.raises(NotImplementedError, match="must be fully reparameterized"):
        TraceTailAdaptive_ELBO(num_particles=2, vectorize_particles=True).loss_and_grads(discrete, discrete)
