"""Mean field: divergences in closed form, scaled and masked by the guide's site; warnings and errors."""

from __future__ import annotations

import pytest
import torch
from tests.infer.gradient_samples import assert_means_agree, samples

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.distributions.testing import fakes
from ember.infer import FullScore, Trace_ELBO, TraceMeanField_ELBO

pytestmark = pytest.mark.usefixtures("float64")
MASK = torch.tensor([True, False, True])


def programs(model_scale=1.0, guide_scale=1.0, mask=True):
    def model():
        with poutine.scale(scale=model_scale), ember.plate("rows", 3), poutine.mask(mask=mask):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor([0.4, 1.7, -0.6]))

    def guide():
        loc = ember.param("loc", torch.tensor([0.1, -0.4, 0.7]))
        scale = ember.param("scale", torch.tensor([0.9, 0.6, 1.3]), constraint=constraints.positive)
        with poutine.scale(scale=guide_scale), ember.plate("rows", 3), poutine.mask(mask=mask):
            ember.sample("z", dist.Normal(loc, scale))

    return model, guide


def kl():
    loc, scale = ember.param("loc"), ember.param("scale")
    return 0.5 * (scale**2 + loc**2 - 1) - scale.log()


@pytest.mark.parametrize("mask", [True, MASK])
def test_the_divergence_counts_as_the_guides_site_does(mask):
    """Without a likelihood the loss is the divergence alone, whatever the samples."""

    model, guide = programs(1.0, 2.5, mask)
    prior = poutine.block(model, hide=["x"])
    for seed in range(3):
        ember.set_rng_seed(seed)
        loss = TraceMeanField_ELBO().differentiable_loss(prior, guide)
        rows = 2.5 * kl()
        torch.testing.assert_close(loss, rows.sum() if mask is True else rows[mask].sum())


def test_it_agrees_with_sampling():
    model, guide = programs()
    many = {"num_particles": 3000, "vectorize_particles": True}
    rows = samples(TraceMeanField_ELBO(**many), model, guide, batches=10)
    assert_means_agree(rows, samples(Trace_ELBO(**many), model, guide, batches=10))


def test_without_a_closed_form_the_divergence_is_sampled():
    def model():
        ember.sample("z", dist.StudentT(4.0))

    def guide():
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 1.0))

    losses = []
    for objective in (TraceMeanField_ELBO(), Trace_ELBO(), TraceMeanField_ELBO(entropy=FullScore())):
        ember.set_rng_seed(0)
        losses.append(objective.loss(model, guide))
    assert losses[0] == pytest.approx(losses[1]) == pytest.approx(losses[2])


def test_a_mask_of_false_counts_as_nothing():
    def program(fn):
        def run():
            with ember.plate("rows", 4):
                ember.sample("z", fn.mask(False))
                ember.sample("y", fn)

        return run

    guide = program(dist.Normal(1.0, 1.0))
    assert TraceMeanField_ELBO().loss(program(dist.Normal(0.0, 1.0)), guide) == pytest.approx(2.0)


def test_other_orders_warn():
    def program(*names):
        def run():
            for name in names:
                ember.sample(name, dist.Normal(0.0, 1.0))

        return run

    with pytest.warns(UserWarning, match="Failed to verify mean field restriction on the guide"):
        assert TraceMeanField_ELBO().loss(program("a", "b"), program("b", "a")) == 0.0


@pytest.mark.parametrize("fn", [dist.Bernoulli(0.5), fakes.NonreparameterizedNormal(0.0, 1.0)])
def test_guides_must_be_reparameterised(fn):
    program = lambda: ember.sample("z", fn)
    with pytest.raises(
        NotImplementedError, match="All distributions in the guide must be fully reparameterized"
    ):
        TraceMeanField_ELBO().loss(program, program)


def test_auxiliary_sites_of_the_guide_are_sampled():
    def model():
        ember.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        u = ember.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        ember.sample("z", dist.Normal(u.detach(), 1.0))

    ember.set_rng_seed(0)
    u = poutine.trace(guide).get_trace().nodes["u"]["value"]
    ember.set_rng_seed(0)
    expected = 0.5 * u**2 + dist.Normal(0.0, 1.0).log_prob(u)
    assert TraceMeanField_ELBO().loss(model, guide) == pytest.approx(expected.item())
