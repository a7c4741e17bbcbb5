"""Energy distance: closed forms, proper scores, and no log density of the likelihood."""

from __future__ import annotations

import math

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.capture import Interpreter
from ember.distributions import constraints
from ember.infer import SVI, EnergyDistance
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")


class WithoutDensity(dist.Normal):
    """A family that can be sampled only."""

    def log_prob(self, value):
        raise AssertionError("the log density of a likelihood must not be evaluated")


def fixed(data, loc=0.0, scale=1.0, observed=WithoutDensity):
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(data)):
            ember.sample("x", observed(loc + 0.0 * z, scale), obs=data)

    def guide():
        ember.sample("z", dist.Normal(ember.param("m", torch.tensor(0.5)), 1.0))

    return model, guide


def test_it_has_its_closed_form_for_normal_predictions():
    """E|X - x| and E|X - X'| of normals are known."""
    x = 0.7
    model, guide = fixed(torch.tensor([x]))
    loss = EnergyDistance(num_particles=2000)(model, guide).item()
    error = math.sqrt(2 / math.pi) * math.exp(-(x**2) / 2) + x * math.erf(x / math.sqrt(2))
    spread = 2 / math.sqrt(math.pi)
    assert loss == pytest.approx(error - spread / 2, abs=0.05)


@pytest.mark.parametrize("particles", [2, 50])
def test_the_prior_counts_as_a_mean_over_particles(particles):
    model, guide = fixed(torch.tensor([0.7]))
    gaps = []
    for _ in range(2000 // particles):
        losses = []
        for prior_scale in (0.0, 3.0):
            ember.set_rng_seed(len(gaps))
            losses.append(
                EnergyDistance(prior_scale=prior_scale, num_particles=particles)(model, guide).item()
            )
        gaps.append(losses[1] - losses[0])
    # -3 E log N(Z; 0, 1) under N(0.5, 1)
    exact = 3 * (0.5 * math.log(2 * math.pi) + 0.5 * (1 + 0.25))
    assert torch.tensor(gaps).mean().item() == pytest.approx(exact, abs=0.25)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("compile", [False, True])
def test_it_finds_location_and_scale(beta, compile):
    data = 1.0 + 0.5 * torch.randn(200)

    def model():
        with ember.plate("rows", 200):
            loc = ember.param("loc", torch.tensor(0.0))
            scale = ember.param("scale", torch.tensor(1.0), constraint=constraints.positive)
            ember.sample("x", WithoutDensity(loc, scale), obs=data)

    svi = SVI(model, lambda: None, Adam({"lr": 0.02}), EnergyDistance(beta, num_particles=8), compile=compile)
    svi.programs.backend = Interpreter()
    svi.run(350, progress=False)
    assert ember.param("loc").item() == pytest.approx(data.mean().item(), abs=0.1)
    assert ember.param("scale").item() == pytest.approx(data.std().item(), rel=0.2)


def test_masks_and_scales_weigh_rows():
    data = torch.tensor([0.3, 5.0, -0.2])

    def loss(keep, scale=1.0):
        def model():
            with ember.plate("rows", 3), poutine.scale(scale=scale), poutine.mask(mask=keep):
                ember.sample("x", WithoutDensity(ember.param("loc", torch.tensor(0.1)), 1.0), obs=data)

        ember.set_rng_seed(0)
        value = EnergyDistance(num_particles=5)(model, lambda: None)
        return value, torch.autograd.grad(value, ember.param("loc"))[0]

    base, _ = loss(torch.tensor([True, False, True]))
    scaled, _ = loss(torch.tensor([True, False, True]), 4.0)
    # Squared distances are scaled: distances by the root.
    assert scaled.item() == pytest.approx(2 * base.item())
    nothing, gradient = loss(torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0.0 and gradient.item() == 0.0


def test_changed_settings_ask_for_a_new_program():
    model, guide = fixed(torch.tensor([0.7]))
    objective = EnergyDistance(num_particles=4)
    svi = SVI(model, guide, Adam({"lr": 0.01}), objective, compile=True)
    svi.programs.backend = Interpreter()
    for _ in range(3):
        svi.step()
    ember.set_rng_seed(0)
    before = svi.step()
    objective.beta = 0.5
    ember.set_rng_seed(0)
    assert svi.step() != before


def test_what_is_refused():
    normal = lambda: ember.sample("z", dist.Normal(0.0, 1.0))
    rigid = lambda: ember.sample("z", dist.Normal(0.0, 1.0).has_rsample_(False))
    for arguments in ({"beta": 2.0}, {"beta": 0.0}, {"prior_scale": -1.0}, {"num_particles": 1}):
        name = next(iter(arguments))
        with pytest.raises(ValueError, match=f"Expected {name}"):
            EnergyDistance(**arguments)
    with pytest.raises(ValueError, match="Found no observations"):
        EnergyDistance()(normal, normal)
    with pytest.raises(ValueError, match=r"requires fully reparametrized guides.*'z'"):
        EnergyDistance()(normal, rigid)
    model, guide = fixed(
        torch.ones(2), observed=lambda loc, scale: dist.Normal(loc, scale).has_rsample_(False)
    )
    with pytest.raises(ValueError, match=r"requires reparametrized likelihoods.*'x'"):
        EnergyDistance()(model, guide)
    with pytest.raises(NotImplementedError, match="EnergyDistance implements only surrogate loss"):
        EnergyDistance().loss(normal, normal)


def test_one_object_serves_pairs_with_other_plates():
    objective = EnergyDistance(num_particles=3)
    before = dict(vars(objective))
    for shape in ((), (2,), (3, 2)):

        def model(shape=shape):
            with ember.plate_stack("rows", shape):
                ember.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(shape))

        assert objective(model, lambda: None).isfinite()
    assert vars(objective) == before
