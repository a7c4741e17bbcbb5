"""Gradient estimates agree with exact gradients: enumeration and closed forms, with scale, mask and subsampling."""

from __future__ import annotations

import itertools

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.distributions.testing import fakes
from ember.infer import Trace_ELBO

pytestmark = pytest.mark.usefixtures("float64")
DATA = torch.tensor([0.4, 1.7, -0.6], dtype=torch.float64)
MASK = torch.tensor([True, False, True])


def _mean_gradient(model, guide, *args, num_particles=2000, batches=12):
    """Mean and standard error of the gradient of the loss, for every parameter."""
    grads = []
    for _ in range(batches):
        elbo = Trace_ELBO(num_particles=num_particles, vectorize_particles=True)
        elbo.loss_and_grads(model, guide, *args)
        leaves = dict(ember.get_param_store().named_parameters())
        grads.append(torch.cat([leaf.grad.reshape(-1) for leaf in leaves.values()]))
        for leaf in leaves.values():
            leaf.grad = None
    stacked = torch.stack(grads)
    return stacked.mean(0), stacked.std(0) / batches**0.5


def _assert_unbiased(model, guide, exact_elbo, *args):
    mean, error = _mean_gradient(model, guide, *args)
    leaves = [leaf for _, leaf in ember.get_param_store().named_parameters()]
    exact = torch.cat([-g.reshape(-1) for g in torch.autograd.grad(exact_elbo(), leaves)])
    assert torch.all((mean - exact).abs() <= 5 * error + 1e-9), (mean, exact, error)
    assert torch.all(error < 0.1 * (1 + exact.abs())), "the test is too noisy to find an error"


def _kl_normal(loc, scale):
    return 0.5 * (scale**2 + loc**2 - 1) - scale.log()


@pytest.mark.parametrize("factor", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normal", [dist.Normal, fakes.NonreparameterizedNormal])
def test_local_normals(normal, masked, factor):
    mask = MASK if masked else torch.ones(3, dtype=torch.bool)

    def model():
        with poutine.scale(scale=factor), ember.plate("rows", 3), poutine.mask(mask=mask):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=DATA)

    def guide():
        loc = ember.param("loc", torch.tensor([0.1, -0.4, 0.7]))
        scale = ember.param("scale", torch.tensor([0.9, 0.6, 1.3]), constraint=constraints.positive)
        with poutine.scale(scale=factor), ember.plate("rows", 3), poutine.mask(mask=mask):
            ember.sample("z", normal(loc, scale))

    def exact():
        loc, scale = ember.param("loc"), ember.param("scale")
        rows = -0.5 * ((DATA - loc) ** 2 + scale**2) - _kl_normal(loc, scale)
        return factor * rows[mask].sum()

    _assert_unbiased(model, guide, exact)


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_bernoullis_by_enumeration(factor):
    def model():
        with poutine.scale(scale=factor), ember.plate("rows", 3):
            z = ember.sample("z", dist.Bernoulli(0.3))
            ember.sample("x", dist.Normal(z, 0.8), obs=DATA)

    def guide():
        probs = ember.param("probs", torch.tensor([0.2, 0.5, 0.7]), constraint=constraints.unit_interval)
        with poutine.scale(scale=factor), ember.plate("rows", 3):
            ember.sample("z", dist.Bernoulli(probs))

    def exact():
        probs = ember.param("probs")
        elbo = 0.0
        for value in (0.0, 1.0):
            z = torch.full((3,), value)
            q = dist.Bernoulli(probs).log_prob(z)
            p = dist.Bernoulli(torch.tensor(0.3)).log_prob(z) + dist.Normal(z, torch.tensor(0.8)).log_prob(
                DATA
            )
            elbo = elbo + (q.exp() * (p - q)).sum()
        return factor * elbo

    _assert_unbiased(model, guide, exact)


def test_mixed_guide_with_dependent_sites_outside_plates():
    """A discrete choice changes the guide of a reparameterised site: both estimators meet in one surrogate."""

    def model():
        z = ember.sample("z", dist.Bernoulli(0.4))
        y = ember.sample("y", dist.Normal(z, 1.0))
        ember.sample("x", dist.Normal(y, 0.5), obs=torch.tensor(0.8))

    def guide():
        probs = ember.param("probs", torch.tensor(0.6), constraint=constraints.unit_interval)
        loc = ember.param("loc", torch.tensor([0.2, 0.9]))
        scale = ember.param("scale", torch.tensor([0.5, 0.8]), constraint=constraints.positive)
        z = ember.sample("z", dist.Bernoulli(probs))
        ember.sample(
            "y", dist.Normal(torch.where(z > 0, loc[1], loc[0]), torch.where(z > 0, scale[1], scale[0]))
        )

    def exact():
        probs, loc, scale = ember.param("probs"), ember.param("loc"), ember.param("scale")
        elbo = 0.0
        for z, q in ((0, 1 - probs), (1, probs)):
            prior = torch.tensor([0.6, 0.4])[z].log()
            kl = 0.5 * (scale[z] ** 2 + (loc[z] - z) ** 2 - 1) - scale[z].log()
            fit = -0.5 * ((0.8 - loc[z]) ** 2 + scale[z] ** 2) / 0.25
            elbo = elbo + q * (prior - q.log() - kl + fit)
        return elbo

    _assert_unbiased(model, guide, exact)


@pytest.mark.parametrize("normal", [dist.Normal, fakes.NonreparameterizedNormal])
def test_subsampling_is_unbiased(normal):
    """Mean over all subsamples of two rows of three equals the gradient of the full data."""

    def model(subsample):
        with ember.plate("rows", 3, subsample=subsample) as rows:
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=DATA[rows])

    def guide(subsample):
        loc = ember.param("loc", torch.tensor([0.1, -0.4, 0.7]))
        scale = ember.param("scale", torch.tensor([0.9, 0.6, 1.3]), constraint=constraints.positive)
        with ember.plate("rows", 3, subsample=subsample) as rows:
            ember.sample("z", normal(loc[rows], scale[rows]))

    means, errors = [], []
    for rows in itertools.combinations(range(3), 2):
        mean, error = _mean_gradient(model, guide, torch.tensor(rows))
        means.append(mean)
        errors.append(error)
    loc, scale = ember.param("loc"), ember.param("scale")
    elbo = (-0.5 * ((DATA - loc) ** 2 + scale**2) - _kl_normal(loc, scale)).sum()
    leaves = [leaf for _, leaf in ember.get_param_store().named_parameters()]
    exact = torch.cat([-g for g in torch.autograd.grad(elbo, leaves)])
    error = torch.stack(errors).square().sum(0).sqrt() / 3
    assert torch.all((torch.stack(means).mean(0) - exact).abs() <= 5 * error + 1e-9)


def test_plates_shield_a_score_from_the_costs_of_other_rows():
    def gradient(data):
        ember.set_rng_seed(7)
        ember.clear_param_store()

        def model():
            with ember.plate("rows", 3):
                z = ember.sample("z", dist.Bernoulli(0.3))
                ember.sample("x", dist.Normal(z, 0.8), obs=data)

        def guide():
            probs = ember.param("probs", torch.tensor([0.2, 0.5, 0.7]), constraint=constraints.unit_interval)
            with ember.plate("rows", 3):
                ember.sample("z", dist.Bernoulli(probs))

        Trace_ELBO().loss_and_grads(model, guide)
        return ember.param("probs").unconstrained().grad

    before, after = gradient(DATA), gradient(torch.tensor([0.4, 1.7, 50.0]))
    assert torch.equal(before[:2], after[:2])
    assert before[2] != after[2]


def test_differentiable_loss_has_the_value_and_the_gradient_of_the_other_two():
    def model():
        z = ember.sample("z", dist.Bernoulli(0.4))
        ember.sample("y", dist.Normal(z, 1.0))

    def guide():
        probs = ember.param("probs", torch.tensor(0.6), constraint=constraints.unit_interval)
        loc = ember.param("loc", torch.tensor(0.3))
        ember.sample("z", dist.Bernoulli(probs))
        ember.sample("y", dist.Normal(loc, 1.0))

    def seeded(method):
        ember.set_rng_seed(3)
        return getattr(Trace_ELBO(num_particles=3), method)(model, guide)

    differentiable = seeded("differentiable_loss")
    leaves = [leaf for _, leaf in ember.get_param_store().named_parameters()]
    grads = torch.autograd.grad(differentiable, leaves)
    loss = seeded("loss_and_grads")
    assert loss == pytest.approx(seeded("loss"), abs=1e-12) == pytest.approx(differentiable.item(), abs=1e-12)
    for grad, leaf in zip(grads, leaves, strict=True):
        torch.testing.assert_close(grad, leaf.grad, rtol=1e-12, atol=1e-12)


def test_pathwise_gradient_equals_finite_differences_of_the_seeded_loss():
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        ember.sample("x", dist.StudentT(3.0, z.sum(), z.exp().sum()), obs=torch.tensor(1.0))

    def guide():
        loc = ember.param("loc", torch.linspace(-1, 1, 4))
        scale = ember.param("scale", torch.full((4,), 0.5), constraint=constraints.softplus_positive)
        ember.sample("z", dist.Normal(loc, scale).to_event(1))

    def loss():
        ember.set_rng_seed(11)
        return Trace_ELBO().loss(model, guide)

    loss()
    ember.set_rng_seed(11)
    Trace_ELBO().loss_and_grads(model, guide)
    for _, leaf in ember.get_param_store().named_parameters():
        for i in range(4):
            step = 1e-6
            with torch.no_grad():
                leaf[i] += step
                up = loss()
                leaf[i] -= 2 * step
                down = loss()
                leaf[i] += step
            assert leaf.grad[i].item() == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-6)
