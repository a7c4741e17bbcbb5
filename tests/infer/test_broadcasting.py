"""Models that mix vectorised particles up are refused, and the site is named; others are not."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import RenyiELBO, Trace_ELBO, Trace_MMD, TraceGraph_ELBO
from ember.infer.autoguide import AutoNormal, AutoNormalMessenger
from ember.infer.posterior.importance import psis_diagnostic, vectorized_importance_weights

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
    with pytest.raises(ValueError, match="site 'y'"):
        psis_diagnostic(model, guide, num_particles=100)


def test_models_that_broadcast_are_compared_once_and_draw_what_they_drew():
    model, guide = regression(right)
    runs = []

    def counted():
        runs.append(1)
        model()

    elbo = Trace_ELBO(num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    ember.set_rng_seed(0)
    losses = [elbo.loss(counted, guide) for _ in range(3)]
    assert len(runs) == 5
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
