"""Importance sampling, marginals of traces, and k-hat."""

from __future__ import annotations

import math

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import EmpiricalMarginal, Importance, TracePosterior, TracePredictive
from ember.infer.posterior.abstract_infer import Marginals
from ember.infer.posterior.importance import (
    plate_log_prob_sum,
    psis_diagnostic,
    vectorized_importance_weights,
)

DATA = torch.tensor([1.0, 2.0])
EVIDENCE = dist.MultivariateNormal(torch.zeros(2), torch.eye(2) + 1).log_prob(DATA)


def model():
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("data", 2):
        ember.sample("x", dist.Normal(z, 1.0), obs=DATA)
    return z


def guide():
    ember.sample("z", dist.Normal(0.5, 1.5))


@pytest.mark.parametrize("proposal", [None, guide])
def test_posterior_and_evidence(proposal):
    torch.manual_seed(0)
    posterior = Importance(model, proposal, num_samples=2000).run()
    marginal = EmpiricalMarginal(posterior, "z")
    ess = posterior.get_ESS()
    assert abs(marginal.mean - 1.0) < 5 * (1 / 3 / ess) ** 0.5
    assert abs(marginal.variance - 1 / 3) < 5 / 3 * (2 / ess) ** 0.5
    assert abs(posterior.get_log_normalizer() - EVIDENCE) < 5 / ess**0.5
    weights = posterior.get_normalized_weights()
    assert weights.sum().item() == pytest.approx(1.0)
    assert torch.allclose(posterior.get_normalized_weights(log_scale=True).exp(), weights)
    assert ess.item() == pytest.approx(1 / weights.square().sum().item(), rel=1e-4)


def test_exact_proposal_has_equal_weights():
    posterior = Importance(model, lambda: ember.sample("z", dist.Normal(1.0, 3**-0.5)), num_samples=20).run()
    assert torch.allclose(torch.stack(posterior.log_weights), EVIDENCE.expand(20), atol=1e-5)
    assert posterior.get_ESS().item() == pytest.approx(20, rel=1e-4)


def test_warnings_without_samples():
    with pytest.warns(UserWarning, match="num_samples not provided, defaulting to 10"):
        posterior = Importance(model)
    assert posterior.num_samples == 10
    with pytest.warns(UserWarning, match="can not compute normalizing constant"):
        assert posterior.get_log_normalizer() is None
    with pytest.warns(UserWarning, match="nothing to normalize"):
        assert posterior.get_normalized_weights() is None
    with pytest.warns(UserWarning, match="effective sample size is zero"):
        assert posterior.get_ESS() == 0


def test_a_call_draws_a_trace_without_observations():
    posterior = Importance(model, guide, num_samples=5).run()
    trace = posterior()
    assert trace.stochastic_nodes == ["z", "data"] and not trace.observation_nodes
    assert any(trace.nodes["z"]["value"] is t.nodes["z"]["value"] for t in posterior.exec_traces)


def test_running_leaves_outer_handlers_alone():
    with poutine.trace() as outer:
        Importance(model, guide, num_samples=3).run()
    assert not outer.trace.nodes


class Chains(TracePosterior):
    def _traces(self, *args):
        for i in range(6):
            yield poutine.trace(model).get_trace(), float(i), i % 2


def test_chains_and_marginals():
    posterior = Chains(num_chains=2).run()
    marginal = EmpiricalMarginal(posterior, "z")
    assert marginal.batch_shape == (2,) and marginal.sample_size == 6
    assert marginal.log_weights.tolist() == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    stacked = EmpiricalMarginal(posterior, ["z", "z"])
    assert stacked.event_shape == (2,)
    marginals = posterior.marginal(["z"])
    assert isinstance(marginals, Marginals) and set(marginals.empirical) == {"z"}
    assert marginals.support()["z"].shape == (2, 3)
    assert marginals.support(flatten=True)["z"].shape == (6,)
    assert set(posterior.marginal().empirical) == {"_RETURN"}
    with pytest.raises(AssertionError, match="must be trace posterior"):
        EmpiricalMarginal(model)


def test_information_criterion():
    posterior = Importance(model, guide, num_samples=50).run()
    pointwise = posterior.information_criterion(pointwise=True)
    assert pointwise["waic"].shape == pointwise["p_waic"].shape == (2,)
    total = posterior.information_criterion()
    assert torch.allclose(total["waic"], pointwise["waic"].sum())
    assert Importance(model, guide, num_samples=5).information_criterion() == {}

    def two():
        ember.sample("x", dist.Normal(0.0, 1.0), obs=DATA[0])
        ember.sample("y", dist.Normal(0.0, 1.0), obs=DATA[0])

    with pytest.raises(ValueError, match="one observation node"):
        Importance(two, lambda: None, num_samples=2).run().information_criterion()


def test_trace_predictive_takes_latents_from_the_posterior():
    def program(size=2, obs=None):
        with ember.plate("rows", size):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            return ember.sample("x", dist.Normal(z, 0.001), obs=obs)

    posterior = Importance(program, num_samples=3).run(obs=DATA)
    with pytest.warns(FutureWarning, match="TracePredictive"):
        predictive = TracePredictive(program, posterior, num_samples=4)
    values = predictive.run(3).marginal("x").empirical["x"].enumerate_support()
    drawn = torch.cat([trace.nodes["z"]["value"] for trace in posterior.exec_traces])
    assert values.shape == (4, 3)
    assert ((values.unsqueeze(-1) - drawn).abs().min(-1).values < 0.01).all()


def test_vectorized_weights_are_those_of_single_runs():
    weights, model_trace, guide_trace = vectorized_importance_weights(
        model, guide, num_samples=7, max_plate_nesting=1
    )
    z = guide_trace.nodes["z"]["value"].reshape(7)
    p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(DATA[:, None]).sum(0)
    assert torch.allclose(weights, p - dist.Normal(0.5, 1.5).log_prob(z), atol=1e-5)
    assert model_trace.nodes["z"]["value"] is guide_trace.nodes["z"]["value"]
    for trace in (guide_trace, model_trace):
        trace.pack_tensors()
    symbol = model_trace.plate_to_symbol["num_particles_vectorized"]
    assert torch.allclose(plate_log_prob_sum(model_trace, symbol), p, atol=1e-5)
    normalized = vectorized_importance_weights(
        model, guide, num_samples=7, max_plate_nesting=1, normalized=True
    )[0]
    assert normalized.exp().sum().item() == pytest.approx(1.0)
    assert vectorized_importance_weights(model, guide, max_plate_nesting=1)[0].shape == ()
    with pytest.raises(ValueError, match="must provide max_plate_nesting"):
        vectorized_importance_weights(model, guide)


def gaussian(scale):
    return lambda: ember.sample("z", dist.Normal(0.0, scale))


def target():
    ember.sample("z", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize("at_once", [4000, 1000])
@pytest.mark.parametrize("scale", [0.6, 0.8])
def test_k_hat_of_a_narrow_proposal(scale, at_once):
    """For q = N(0, s^2), s < 1, the weight exp(z^2 (1/s^2 - 1)/2) has a tail of shape 1 - s^2."""
    torch.manual_seed(0)
    k = psis_diagnostic(
        target, gaussian(scale), num_particles=4000, max_simultaneous_particles=at_once, max_plate_nesting=0
    )
    assert abs(k - (1 - scale**2)) < 0.25


def test_k_hat_of_bounded_weights_is_small():
    torch.manual_seed(0)
    assert psis_diagnostic(target, gaussian(1.5), num_particles=4000, max_plate_nesting=0) < 0.2


def test_k_hat_refusals():
    with pytest.raises(ValueError, match="must be divisible"):
        psis_diagnostic(target, target, num_particles=10, max_simultaneous_particles=3)
    with pytest.warns(UserWarning, match="Not enough tail samples"):
        assert psis_diagnostic(target, gaussian(0.8), num_particles=20, max_plate_nesting=0) == math.inf
