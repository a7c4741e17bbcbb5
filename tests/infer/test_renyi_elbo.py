"""Weighted bounds: closed forms, growth towards the evidence, rows of plates, and gradients of the seeded bound."""

from __future__ import annotations

import math

import pytest
import torch
from tests import zoo
from tests.infer.gradient_samples import samples

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import RenyiELBO, Trace_ELBO

pytestmark = pytest.mark.usefixtures("float64")


def mean_bound(objective, known, runs):
    values = torch.tensor([-objective.loss(known.model, known.guide, *known.args) for _ in range(runs)])
    return values.mean().item(), (values.std() / runs**0.5).item()


@pytest.mark.parametrize("make", [zoo.normal_normal, zoo.local_normals, zoo.bernoulli_mixture])
def test_bounds_grow_towards_the_evidence(make):
    known = make()
    previous = -math.inf
    for particles, runs in ((1, 1500), (4, 700), (40, 250), (1000, 40)):
        elbo = RenyiELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
        mean, error = mean_bound(elbo, known, runs)
        assert mean < known.log_evidence + 4 * error and mean > previous - 4 * error
        previous = mean
    assert previous == pytest.approx(known.log_evidence, abs=0.05)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("vectorize", [False, True])
def test_at_the_exact_posterior_every_bound_is_the_evidence(alpha, vectorize):
    known = zoo.beta_bernoulli()
    known.guide(*known.args)
    for name, value in known.at_optimum.items():
        ember.get_param_store()[name] = value
    elbo = RenyiELBO(alpha, num_particles=3, vectorize_particles=vectorize)
    assert -elbo.loss(known.model, known.guide, *known.args) == pytest.approx(known.log_evidence)


def test_one_particle_is_the_elbo_and_smaller_alpha_the_larger_bound():
    known = zoo.gamma_poisson()
    losses = {}
    for name, objective in (
        ("elbo", Trace_ELBO()),
        ("one", RenyiELBO(0.3, 1)),
        *((alpha, RenyiELBO(alpha, 50)) for alpha in (-1.0, 0.0, 0.5, 0.9)),
    ):
        ember.set_rng_seed(3)
        losses[name] = objective.loss(known.model, known.guide, *known.args)
    assert losses["one"] == pytest.approx(losses["elbo"])
    assert losses[-1.0] < losses[0.0] < losses[0.5] < losses[0.9]


def plated(rows, with_global):
    data = torch.linspace(-1, 2, rows)

    def model():
        a = ember.sample("a", dist.Normal(0.0, 1.0)) if with_global else 0.0
        with ember.plate("rows", rows):
            z = ember.sample("z", dist.Normal(a, 1.0))
            with ember.plate("repeats", 2, dim=-2):
                ember.sample("x", dist.Normal(z, 1.0), obs=data.expand(2, rows))

    def guide():
        loc = ember.param("loc", torch.zeros(rows))
        if with_global:
            ember.sample("a", dist.Normal(0.5, 1.0))
        with ember.plate("rows", rows):
            ember.sample("z", dist.Normal(loc, 1.0))

    return model, guide


@pytest.mark.parametrize("with_global", [False, True])
@pytest.mark.parametrize("vectorize", [False, True])
def test_plates_around_all_sites_have_a_bound_for_each_row(with_global, vectorize):
    """The plate of rows is common to all sites without the global one; the plate of repeats never is."""
    model, guide = plated(3, with_global)
    elbo = RenyiELBO(0.2, num_particles=4, vectorize_particles=vectorize, max_plate_nesting=2)
    ember.set_rng_seed(1)
    loss = elbo.loss(model, guide)
    ember.set_rng_seed(1)
    log_w = []
    for model_trace, guide_trace in elbo._get_traces(model, guide, (), {}):
        row = 0.0
        for trace, sign in ((model_trace, 1), (guide_trace, -1)):
            for site in trace.nodes.values():
                if site["type"] != "sample":
                    continue
                log_prob = site["log_prob"]
                if site["name"] == "x":
                    log_prob = log_prob.sum(-2, keepdim=vectorize)
                if with_global:
                    log_prob = log_prob.sum(-1, keepdim=True) if log_prob.dim() else log_prob
                row = row + sign * log_prob
        log_w.append(row)
    log_w = log_w[0] if vectorize else torch.stack(log_w)
    bound = ((0.8 * log_w).logsumexp(0) - math.log(4)).sum() / 0.8
    assert -loss == pytest.approx(bound.item())


@pytest.mark.parametrize("vectorize", [False, True])
def test_subsampling_scales_the_bound_of_a_row_and_not_its_weights(vectorize):
    """So the mean over subsamples is the bound of all rows. (Pyro scales the weights; the result bounds nothing.)"""
    data = torch.tensor([0.4, 1.7, -0.6])

    def program(observed):
        with ember.plate("rows", 3, subsample=torch.tensor([0, 2])) as rows:
            z = ember.sample("z", dist.Normal(0.0 if observed else data[rows], 1.0))
            if observed:
                ember.sample("x", dist.Normal(z, 1.0), obs=data[rows])

    model, guide = (lambda observed=o: program(observed) for o in (True, False))
    elbo = RenyiELBO(0.2, num_particles=4, vectorize_particles=vectorize, max_plate_nesting=1)
    ember.set_rng_seed(1)
    loss = elbo.loss(model, guide)
    ember.set_rng_seed(1)
    log_w = []
    for model_trace, guide_trace in elbo._get_traces(model, guide, (), {}):
        p, q = model_trace.nodes, guide_trace.nodes
        log_w.append(p["z"]["unscaled_log_prob"] + p["x"]["unscaled_log_prob"] - q["z"]["unscaled_log_prob"])
    log_w = log_w[0] if vectorize else torch.stack(log_w)
    rows = ((0.8 * log_w).logsumexp(0) - math.log(4)) / 0.8
    assert -loss == pytest.approx(1.5 * rows.sum().item())


@pytest.mark.parametrize("vectorize", [False, True])
def test_path_gradients_equal_finite_differences_of_the_seeded_bound(vectorize):
    model, guide = plated(3, True)
    elbo = RenyiELBO(0.3, num_particles=4, vectorize_particles=vectorize, max_plate_nesting=2)

    def loss():
        ember.set_rng_seed(2)
        return elbo.loss(model, guide)

    loss()
    ember.set_rng_seed(2)
    grad = samples(elbo, model, guide, batches=1)[0]
    leaf = ember.param("loc").unconstrained()
    for i in range(3):
        with torch.no_grad():
            leaf[i] += 1e-6
            up = loss()
            leaf[i] -= 2e-6
            down = loss()
            leaf[i] += 1e-6
        assert grad[i].item() == pytest.approx((up - down) / 2e-6, rel=1e-5)


def test_impossible_particles_weigh_nothing():
    def model():
        z = ember.sample("z", dist.Bernoulli(0.5))
        ember.sample("x", dist.Bernoulli(z, validate_args=False), obs=torch.tensor(1.0))

    def guide():
        ember.sample("z", dist.Bernoulli(ember.param("p", torch.tensor(0.5))))

    ember.set_rng_seed(0)
    for alpha in (0.0, 0.3):
        assert samples(RenyiELBO(alpha, num_particles=20), model, guide, batches=10).isfinite().all()


def test_alpha_of_one_is_refused():
    with pytest.raises(ValueError, match=r"The order alpha should not be equal to 1. Please use Trace_ELBO"):
        RenyiELBO(alpha=1)
    with pytest.warns(DeprecationWarning, match="max_plate_nesting"):
        assert RenyiELBO(max_iarange_nesting=2).max_plate_nesting == 2


def test_no_sites_at_all():
    assert RenyiELBO().loss_and_grads(lambda: None, lambda: None) == 0.0
    with poutine.trace(), pytest.raises(ValueError, match="num_particles"):
        RenyiELBO(num_particles=0)
