"""Models that mix vectorised particles up are refused, and the site is named; others are not."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import (
    EnergyDistance,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
)
from ember.infer.autoguide import AutoNormal, AutoNormalMessenger
from ember.infer.posterior.importance import (
    log_weights_by_row,
    psis_diagnostic,
    vectorized_importance_weights,
)
from ember.ops.indexing import Vindex

X = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
Y = X.sum(-1)


def regression(mean):
    def model():
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        w = ember.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("rows", 4):
            ember.sample("y", dist.Normal(mean(a, w), 1.0), obs=Y)

    def guide():
        ember.sample("a", dist.Normal(ember.param("a_loc", torch.tensor(0.3)), 0.5))
        ember.sample("w", dist.Normal(ember.param("w_loc", torch.tensor([0.5, -0.5])), 0.5).to_event(1))

    return model, guide


def other_shape(a, w):
    return a + w @ X.T  # (S, 1) + (S, 1, 4)


def first_particle(a, w):
    return a + (X * w.reshape(-1, 2)[0]).sum(-1)


def mean_over_particles(a, w):
    return a.mean() + (X * w).sum(-1)


def right(a, w):
    return a + (X * w).sum(-1)


@pytest.mark.parametrize("mean", [other_shape, first_particle, mean_over_particles])
@pytest.mark.parametrize("objective", [Trace_ELBO, TraceGraph_ELBO, RenyiELBO])
def test_particles_mixed_up_are_refused(objective, mean):
    model, guide = regression(mean)
    many = objective(num_particles=5, vectorize_particles=True)
    for method in (many.loss, many.loss_and_grads):
        with pytest.raises(
            ValueError, match=r"(?s)site 'y'.*does not broadcast over particles.*vectorize_particles=False"
        ):
            method(model, guide)
    assert objective(num_particles=5).loss(model, guide) > 0


@pytest.mark.parametrize("mean", [other_shape, first_particle, mean_over_particles])
def test_weights_mixed_up_are_refused(mean):
    model, guide = regression(mean)
    with pytest.raises(ValueError, match="site 'y'"):
        vectorized_importance_weights(model, guide, num_samples=10, max_plate_nesting=1)


def test_models_that_broadcast_are_compared_once_and_draw_what_they_drew():
    model, guide = regression(right)
    runs = []

    def counted():
        runs.append(1)
        model()

    elbo = Trace_ELBO(num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    ember.set_rng_seed(0)
    losses = [elbo.loss(counted, guide) for _ in range(3)]
    assert len(runs) == 3 + 6  # among others, among copies and alone, for two particles
    ember.set_rng_seed(0)
    with ember.validation_enabled(False):
        assert losses == [Trace_ELBO(5, 1, vectorize_particles=True).loss(model, guide) for _ in range(3)]
    weights = vectorized_importance_weights(model, guide, num_samples=7, max_plate_nesting=1)[0]
    assert weights.shape == (7,) and psis_diagnostic(model, guide) < 2.0


def nested(change, random):
    """Plates in plates, scaled and masked; perhaps subsampled, with a latent that the guide does not have."""

    def model():
        with ember.plate("groups", 3, dim=-2), poutine.scale(scale=2.0):
            g = ember.sample("g", dist.Normal(0.0, 1.0))
            with (
                ember.plate("rows", 6, subsample_size=4 if random else 6, dim=-1) as i,
                poutine.mask(mask=i % 2 == 0),
            ):
                z = ember.sample("z", dist.Normal(g, 1.0))
                noise = ember.sample("noise", dist.Normal(0.0, 1.0)) if random else 0.0
                ember.sample("y", dist.Normal(change(z) + noise, 1.0), obs=i.float())

    return model


@pytest.mark.parametrize("kind, random", [(AutoNormal, True), (AutoNormalMessenger, False)])
def test_structure_is_no_difference(kind, random):
    for change, fits in ((lambda z: z, True), (lambda z: z.flip(0), False)):
        model = nested(change, random)
        guide = kind(poutine.block(model, hide=["noise"]))
        elbo = Trace_ELBO(num_particles=3, vectorize_particles=True)
        with (
            warnings.catch_warnings(),
            nullcontext() if fits else pytest.raises(ValueError, match="site 'y'"),
        ):
            warnings.simplefilter("ignore", UserWarning)
            assert elbo.loss(model, guide) > 0


class Noisy:
    """Draws random numbers besides its sites."""

    def __call__(self, mean):
        return mean + torch.randn(())


class Counting:
    """Keeps a state."""

    def __init__(self):
        self.runs = 0

    def __call__(self, mean):
        self.runs += 1
        return mean + self.runs


class Normalised(torch.nn.BatchNorm1d):
    """Normalises over the batch."""

    def __init__(self):
        super().__init__(4, affine=False)

    def forward(self, mean):
        return super().forward(mean.reshape(-1, 4)).reshape(mean.shape)


class ForManyOnly:
    """Cannot be run for one."""

    def __call__(self, mean):
        assert mean.dim() == 2
        return mean


@pytest.mark.parametrize("kind", [Noisy, Counting, Normalised, ForManyOnly])
def test_what_cannot_be_compared_is_not(kind):
    change = kind()
    model, guide = regression(lambda a, w: change(right(a, w)))
    assert Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1).loss(model, guide) > 0


def test_the_discrepancy_compares_too():
    kernel = lambda X, Z=None: torch.exp(-0.5 * (X[:, None] - (X if Z is None else Z)[None]).square().sum(-1))
    with pytest.raises(ValueError, match="site 'y'"):
        Trace_MMD(kernel).loss(*regression(first_particle))


def mixing_guide():
    """The scale of the last site is a sum over all particles; there is nothing observed."""

    def model():
        w = ember.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ember.sample("c", dist.Normal(w.sum(-1), 1.0))

    def guide():
        w = ember.sample("w", dist.Normal(torch.ones(2), 0.1).to_event(1))
        ember.sample("c", dist.Normal(w.sum(), 1.0))

    return model, guide


def mixing_prior():
    """A prior that depends on the latents of all particles; there is nothing observed."""
    model, guide = mixing_guide()
    return guide, model


def tight():
    """All particles are nearly alike: that one is taken for another changes log densities of 700 by 0.3."""
    x = torch.linspace(-1.0, 1.0, 500)

    def model():
        w = ember.sample("w", dist.Normal(0.0, 1.0))
        first = w.reshape(-1)[0]
        with ember.plate("rows", 500):
            ember.sample("y", dist.Normal(first * x, 1.0), obs=x)

    return model, lambda: ember.sample("w", dist.Normal(1.0, 0.05))


def noisy():
    """Random numbers besides the sites are the same in all runs that are compared."""
    model, guide = regression(lambda a, w: right(a, w) + 0.1 * torch.randn(4) + a.mean())
    return model, guide


WRONG = {"guide": mixing_guide, "prior": mixing_prior, "tight": tight, "noisy": noisy}


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("case", WRONG)
def test_mixing_is_found_without_observations_in_guides_and_without_validation(case, validation):
    model, guide = WRONG[case]()
    torch.manual_seed(0)
    with (
        ember.validation_enabled(validation),
        pytest.raises(ValueError, match="does not broadcast over particles"),
    ):
        vectorized_importance_weights(model, guide, num_samples=10, max_plate_nesting=1)
    with ember.validation_enabled(validation), pytest.raises(ValueError, match=r"at site '\w'"):
        Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1).loss(model, guide)


def test_what_fits_by_chance_for_some_shapes_is_compared_for_others():
    def model(x):
        w = ember.sample("w", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal(w if len(x) == 1 else w.reshape(-1), 1.0), obs=x)

    def guide(x):
        ember.sample("w", dist.Normal(0.0, 1.0))

    elbo = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    assert elbo.loss(model, guide, torch.ones(1)) < 100
    with pytest.raises(ValueError, match="site 'y'"):
        elbo.loss(model, guide, torch.ones(3))


@pytest.mark.parametrize("wrong", [True, False])
def test_enumerated_models_are_compared(wrong):
    def model(data):
        w = ember.sample("w", dist.Dirichlet(torch.ones(2)))
        m = ember.sample("m", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("rows", len(data)):
            k = ember.sample("k", dist.Categorical(w), infer={"enumerate": "parallel"})
            loc = m.reshape(-1, 2)[0][k] if wrong else Vindex(m)[..., k]
            ember.sample("y", dist.Normal(loc, 1.0), obs=data)

    def guide(data):
        ember.sample("w", dist.Dirichlet(torch.full((2,), 5.0)))
        ember.sample("m", dist.Normal(torch.zeros(2), 0.3).to_event(1))

    elbo = TraceEnum_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    with pytest.raises(ValueError, match="site 'y'") if wrong else nullcontext():
        assert elbo.loss(model, guide, torch.arange(4.0)) > 0


def test_k_hat_goes_by_rows_where_the_model_does_not_broadcast():
    """One k-hat for a model written in three ways: the guide is too narrow in one direction by 0.6, so it is 1 - 0.6^2."""
    for mean in (right, other_shape, lambda a, w: a + X @ w):
        model, guide = regression(mean)
        z = torch.cat([torch.ones(4, 1), X], -1)
        cov = torch.linalg.inv(torch.eye(3) + z.T @ z)
        narrow_in_one = torch.linalg.cholesky(cov) * torch.tensor([0.6, 1.0, 1.0])
        posterior = dist.MultivariateNormal(cov @ z.T @ Y, scale_tril=narrow_in_one)

        def narrow(posterior=posterior):
            drawn = ember.sample("drawn", posterior, infer={"is_auxiliary": True})
            ember.sample("a", dist.Delta(drawn[..., 0]))
            ember.sample("w", dist.Delta(drawn[..., 1:], event_dim=1))

        torch.manual_seed(0)
        assert abs(psis_diagnostic(model, narrow, num_particles=1000, max_plate_nesting=1) - 0.64) < 0.25
        assert psis_diagnostic(model, guide, num_particles=200, max_plate_nesting=1) < 3


def test_rows_of_models_that_do_not_broadcast_have_right_weights():
    model, guide = regression(lambda a, w: a + X @ w)
    same, _ = regression(right)
    torch.manual_seed(0)
    weights = log_weights_by_row(model, guide, (), {}, 50)
    torch.manual_seed(0)
    assert torch.allclose(weights, log_weights_by_row(same, guide, (), {}, 50), atol=1e-4)


def test_the_energy_distance_and_the_sleep_phase_compare_too():
    model, guide = regression(first_particle)
    with pytest.raises(ValueError, match="site 'y'"):
        EnergyDistance(num_particles=4)(model, guide)
    with pytest.raises(ValueError, match="site 'y'"):
        ReweightedWakeSleep(num_particles=4, insomnia=0.0, model_has_params=False).loss(
            model, lambda observations=None: guide()
        )
