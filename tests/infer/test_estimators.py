"""Estimators as values: unbiased, with the variances that theory says, and refused where they make no sense."""

from __future__ import annotations

import pickle

import pytest
import torch
from tests.infer.gradient_samples import (
    assert_means_agree,
    chain,
    chain_elbo,
    gradient_of,
    make_chain_exact,
    samples,
)

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import (
    AnalyticKL,
    DoublyReparameterized,
    FullScore,
    LeaveOneOut,
    NoControlVariate,
    RenyiELBO,
    StickingTheLanding,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    VarGrad,
)

pytestmark = pytest.mark.usefixtures("float64")
MANY = {"num_particles": 1500, "vectorize_particles": True}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"entropy": StickingTheLanding()},
        {"control_variate": LeaveOneOut()},
        {"control_variate": VarGrad()},
        {"entropy": StickingTheLanding(), "control_variate": LeaveOneOut()},
    ],
    ids=str,
)
@pytest.mark.parametrize("reparameterized", [True, False])
def test_unbiased(options, reparameterized):
    model, guide = chain(reparameterized)
    rows = samples(Trace_ELBO(**MANY, **options), model, guide)
    assert_means_agree(rows, gradient_of(chain_elbo))


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("control_variate", [LeaveOneOut(), VarGrad()])
def test_control_variates_with_few_particles(control_variate, vectorize):
    """Two particles are enough to be unbiased, drawn one after the other or at once."""
    # VarGrad weighs all sites together, so that replicates in one run would drown each other in noise.
    replicates, batches = (400, 40) if isinstance(control_variate, LeaveOneOut) else (10, 300)
    model, guide = chain(reparameterized=False, replicates=replicates)
    elbo = Trace_ELBO(2, vectorize_particles=vectorize, max_plate_nesting=1, control_variate=control_variate)
    rows = samples(elbo, model, guide, batches=batches) / replicates
    assert_means_agree(rows, gradient_of(chain_elbo), precision=0.2)


def test_sticking_the_landing_has_no_variance_at_the_optimum():
    """Also for a guide whose sites depend on each other: its path derivatives go through all of them."""
    make_chain_exact()
    model, guide = chain()
    names = [name for name in ember.get_param_store() if name != "prior"]
    sticking = samples(Trace_ELBO(entropy=StickingTheLanding()), model, guide, batches=5)[:, 1:]
    plain = samples(Trace_ELBO(), model, guide, batches=5)[:, 1:]
    assert sticking.shape[1] == len(names)
    assert sticking.abs().max() < 1e-12 and plain.std(0).min() > 0.01


@pytest.mark.parametrize("control_variate", [LeaveOneOut(), VarGrad()])
def test_control_variates_have_no_variance_at_the_optimum(control_variate):
    make_chain_exact()
    model, guide = chain(reparameterized=False)
    rows = samples(Trace_ELBO(4, control_variate=control_variate), model, guide, batches=5)[:, 1:]
    assert rows.abs().max() < 1e-12


def test_a_jacobian_keeps_its_gradient_when_sticking_the_landing():
    """The log density of a Delta or a factor is no density of a sample: its score does not have mean zero."""

    def model():
        ember.sample("z", dist.LogNormal(0.0, 1.0))

    def guide():
        loc = ember.param("loc", torch.tensor(0.7))
        u = ember.sample("u", dist.Normal(loc, 1.0), infer={"is_auxiliary": True})
        shift = ember.param("shift", torch.tensor(0.3))
        ember.sample("z", dist.Delta((u + shift).exp(), log_density=-(u + shift)))

    # KL(N(loc + shift, 1) | N(0, 1)) is half of the squared mean.
    rows = samples(Trace_ELBO(entropy=StickingTheLanding(), **MANY), model, guide)
    assert_means_agree(rows, torch.tensor([1.0, 1.0]))


def test_sites_choose_for_themselves():
    def model():
        ember.sample("a", dist.Normal(0.0, 1.0))
        ember.sample("b", dist.Normal(0.0, 1.0))

    def guide():
        loc = ember.param("loc", torch.zeros(2))
        scale = ember.param("scale", torch.ones(2), constraint=constraints.positive)
        ember.sample("a", dist.Normal(loc[0], scale[0]), infer={"entropy": StickingTheLanding()})
        ember.sample("b", dist.Normal(loc[1], scale[1]), infer={"entropy": AnalyticKL()})

    assert samples(Trace_ELBO(), model, guide, batches=3).abs().max() < 1e-12
    with_kl = samples(Trace_ELBO(entropy=AnalyticKL()), model, guide, batches=3)
    assert with_kl.abs().max() < 1e-12


def test_a_divergence_of_discrete_sites_is_exact_and_shields_from_noise():
    def model():
        with ember.plate("rows", 3):
            z = ember.sample("z", dist.Bernoulli(0.3))
            ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor([0.4, 1.7, -0.6]))

    def guide():
        probs = ember.param("probs", torch.tensor([0.2, 0.5, 0.7]), constraint=constraints.unit_interval)
        with ember.plate("rows", 3):
            ember.sample("z", dist.Bernoulli(probs))

    def exact():
        probs = ember.param("probs")
        kl = probs * (probs / 0.3).log() + (1 - probs) * ((1 - probs) / 0.7).log()
        x = torch.tensor([0.4, 1.7, -0.6])
        return (probs * -0.5 * (x - 1) ** 2 + (1 - probs) * -0.5 * x**2 - kl).sum()

    for control_variate in (NoControlVariate(), LeaveOneOut()):
        elbo = Trace_ELBO(**MANY, entropy=AnalyticKL(), control_variate=control_variate)
        assert_means_agree(samples(elbo, model, guide), gradient_of(exact))


def test_leave_one_out_lowers_the_variance_and_provenance_does_too():
    def model():
        for i in range(6):
            z = ember.sample(f"z{i}", dist.Bernoulli(0.3))
            ember.sample(f"x{i}", dist.Normal(z, 0.5), obs=torch.tensor(0.7))

    def guide():
        for i in range(6):
            probs = ember.param(f"p{i}", torch.tensor(0.4), constraint=constraints.unit_interval)
            ember.sample(f"z{i}", dist.Bernoulli(probs))

    def variance(objective, **options):
        rows = samples(
            objective(num_particles=10, vectorize_particles=True, **options), model, guide, batches=150
        )
        return rows.var(0).mean().item()

    plain = variance(Trace_ELBO)
    assert variance(Trace_ELBO, control_variate=LeaveOneOut()) < 0.3 * plain
    assert variance(TraceGraph_ELBO) < 0.5 * plain


@pytest.mark.parametrize("alpha", [0, 0.4])
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("vectorize", [False, True])
def test_doubly_reparameterized_gradients_are_unbiased(alpha, particles, vectorize):
    """They have the mean of the plain ones, also where sites of the guide depend on each other and the model learns."""
    model, guide = chain(replicates=3000)
    options = {"vectorize_particles": vectorize, "max_plate_nesting": 1}
    plain = samples(RenyiELBO(alpha, particles, **options), model, guide, batches=12) / 3000
    doubly = RenyiELBO(alpha, particles, **options, gradient=DoublyReparameterized())
    assert_means_agree(samples(doubly, model, guide, batches=12) / 3000, plain, precision=0.02)


def test_doubly_reparameterized_gradients_do_not_drown_in_noise():
    """Signal to noise of the plain gradient falls with the number of particles; at the exact guide, this one has no noise."""
    model, guide = chain(replicates=1000)
    make_chain_exact()
    elbo = RenyiELBO(0, 5, vectorize_particles=True, max_plate_nesting=1, gradient=DoublyReparameterized())
    assert samples(elbo, model, guide, batches=2)[:, 1:].abs().max() < 1e-9
    ember.clear_param_store()
    variances = []
    for gradient in ({}, {"gradient": DoublyReparameterized()}):
        elbo = RenyiELBO(0, 32, vectorize_particles=True, max_plate_nesting=1, **gradient)
        variances.append(samples(elbo, model, guide, batches=30)[:, 1:].var(0))
    assert variances[1].sum() < 0.5 * variances[0].sum()


@pytest.mark.parametrize("vectorize", [False, True])
def test_leave_one_out_is_unbiased_for_a_weighted_bound(vectorize):
    options = {"vectorize_particles": vectorize, "max_plate_nesting": 1}
    model, guide = chain(replicates=3000)
    plain = samples(RenyiELBO(0, 3, **options), model, guide, batches=12) / 3000
    model, guide = chain(reparameterized=False, replicates=3000)
    score = RenyiELBO(0, 3, **options, control_variate=LeaveOneOut())
    assert_means_agree(samples(score, model, guide, batches=25) / 3000, plain, precision=0.03)


def _one(fn, **infer):
    def guide():
        ember.param("p", torch.tensor(0.5))
        ember.sample("z", fn, infer=infer)

    return guide


def test_what_makes_no_sense_is_refused_and_named():
    model = lambda: ember.sample("z", dist.Normal(0.0, 1.0))
    fixed = dist.Normal(0.0, 1.0).has_rsample_(False)
    with pytest.raises(ValueError, match="'z', StickingTheLanding is not possible"):
        Trace_ELBO().loss(model, _one(fixed, entropy=StickingTheLanding()))
    with pytest.raises(ValueError, match="'z', AnalyticKL is not possible"):
        Trace_ELBO().loss(model, _one(dist.StudentT(3.0), entropy=AnalyticKL()))
    with pytest.raises(ValueError, match=r"'z'.*must be one of"):
        Trace_ELBO().loss(model, _one(dist.Normal(0.0, 1.0), entropy="stl"))
    with pytest.raises(ValueError, match="'z', DoublyReparameterized is not possible"):
        RenyiELBO(gradient=DoublyReparameterized()).loss(model, _one(fixed))
    with pytest.raises(ValueError, match="num_particles=2"):
        Trace_ELBO(control_variate=VarGrad())
    with pytest.raises(ValueError, match="num_particles=2"):
        RenyiELBO(num_particles=1, control_variate=LeaveOneOut())
    with pytest.raises(ValueError, match="entropy must be one of"):
        Trace_ELBO(entropy="analytic")
    with pytest.raises(ValueError, match="has no entropy term"):
        Trace_ELBO(2, control_variate=VarGrad(), entropy=StickingTheLanding())
    with pytest.raises(ValueError, match="choose one"):
        RenyiELBO(control_variate=LeaveOneOut(), gradient=DoublyReparameterized())
    with pytest.raises(ValueError, match="use Trace_ELBO"):
        TraceMeanField_ELBO(2, control_variate=LeaveOneOut())
    # As a default for all sites, it is used where it is possible.
    assert Trace_ELBO(entropy=StickingTheLanding()).loss(model, _one(fixed)) == 0.0
    Trace_ELBO(entropy=AnalyticKL()).loss(model, _one(dist.StudentT(3.0)))


def test_draws_outside_of_sample_sites_are_refused_where_the_guide_runs_twice():
    model = lambda: ember.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        noise = torch.nn.functional.dropout(torch.ones(()), 0.5)
        ember.sample("z", dist.Normal(noise, 1.0))

    with pytest.raises(ValueError, match="drew random numbers"):
        Trace_ELBO(entropy=StickingTheLanding()).loss(model, guide)


def test_particles_with_other_sites_are_refused_by_leave_one_out():
    model = lambda: ember.sample("z", dist.Bernoulli(0.5))
    shapes = iter([1, 2])

    def guide():
        with ember.plate("rows", next(shapes)):
            ember.sample("z", dist.Bernoulli(0.5))

    with (
        ember.infer.traces.validation.validation_enabled(False),
        pytest.raises(ValueError, match=r"site 'z'.*same shape"),
    ):
        Trace_ELBO(2, control_variate=LeaveOneOut()).loss_and_grads(lambda: guide_like(model), guide)


def guide_like(model):
    with ember.plate("rows", 2):
        return model()


def test_subsampled_plates_are_repeated_where_the_guide_runs_twice():
    def model():
        with ember.plate("rows", 10, subsample_size=3) as rows:
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=torch.arange(10.0)[rows])

    def guide():
        loc = ember.param("loc", torch.zeros(10))
        with ember.plate("rows", 10, subsample_size=3) as rows:
            ember.sample("z", dist.Normal(loc[rows], 1.0))

    for elbo in (Trace_ELBO(entropy=StickingTheLanding()), RenyiELBO(gradient=DoublyReparameterized())):
        rows = samples(elbo, model, guide, batches=4)
        assert torch.all((rows != 0).sum(1) <= 6) and rows.isfinite().all()


def test_estimators_are_plain_values():
    for value in (FullScore(), StickingTheLanding(), LeaveOneOut(), DoublyReparameterized()):
        assert pickle.loads(pickle.dumps(value)) == value and hash(value) == hash(type(value)())
