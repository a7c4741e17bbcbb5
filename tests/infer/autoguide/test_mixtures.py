"""Latent sites that are mixtures of one family, under automatic guides."""

import pytest
import torch

import ember
from ember import distributions as dist
from ember.errors import ModelError
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import Adam

Y = torch.tensor(1.5)
WEIGHTS = torch.tensor([0.3, 0.7])


def normals():
    z = ember.sample(
        "z", dist.MixtureSameFamily(dist.Categorical(WEIGHTS), dist.Normal(torch.tensor([-1.0, 1.0]), 0.6))
    )
    ember.sample("y", dist.Normal(z, 0.5), obs=Y)


def betas():
    z = ember.sample(
        "z", dist.MixtureSameFamily(dist.Categorical(WEIGHTS), dist.Beta(torch.tensor([2.0, 5.0]), 2.0))
    )
    ember.sample("y", dist.Normal(2 * z, 0.2), obs=Y)


def vectors():
    parts = dist.Gamma(torch.tensor([[2.0, 3.0], [4.0, 5.0]]), 1.0).to_event(1)
    ember.sample("z", dist.MixtureSameFamily(dist.Categorical(WEIGHTS), parts))


def posterior_mean(model, grid):
    """By summing over a grid."""
    log_density = []
    for z in grid:
        recorded = ember.poutine.trace(ember.poutine.condition(model, {"z": z})).get_trace()
        log_density.append(recorded.log_prob_sum())
    return (torch.stack(log_density).softmax(0) * grid).sum()


@pytest.mark.parametrize(
    "name", ["AutoNormal", "AutoMultivariateNormal", "AutoStructured", "AutoNormalMessenger"]
)
@pytest.mark.parametrize("model", [normals, betas])
def test_the_posterior_mean(model, name):
    guide = getattr(autoguide, name)(model)
    elbo = Trace_ELBO(num_particles=20, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(model, guide, Adam({"lr": 0.03}), elbo)
    for _ in range(250):
        svi.step()
    with torch.no_grad(), ember.plate("draws", 4000):
        mean = guide()["z"].mean()
    grid = torch.linspace(-3.0, 4.0, 1000) if model is normals else torch.linspace(0.001, 0.999, 1000)
    assert abs(mean - posterior_mean(model, grid)) < 0.08


def test_supports_are_those_of_the_components():
    support = dist.MixtureSameFamily(dist.Categorical(WEIGHTS), dist.Beta(torch.ones(2), 1.0)).support
    assert repr(support) == repr(dist.Beta(1.0, 1.0).support)
    guide = autoguide.AutoDelta(vectors)
    assert guide()["z"].shape == (2,) and (guide.median()["z"] > 0).all()


@pytest.mark.parametrize("make", [autoguide.AutoNormal, autoguide.AutoDelta, autoguide.AutoDiagonalNormal])
def test_components_with_supports_of_their_own_are_named(make):
    def model():
        parts = dist.Uniform(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0]))
        ember.sample("z", dist.MixtureSameFamily(dist.Categorical(WEIGHTS), parts))

    with pytest.raises(ModelError, match="mixture at site 'z'"):
        make(model)()
