"""Reweighted wake-sleep: two losses, for model and guide, of what is drawn by either."""

from __future__ import annotations

import math

import pytest
import torch
from tests.infer.gradient_samples import assert_means_agree, chain, samples

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.distributions import constraints
from ember.errors import NonFiniteLossError
from ember.infer import SVI, RenyiELBO, ReweightedWakeSleep
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")
X = torch.tensor(1.2)


def model(observations=None):
    prior = ember.param("prior", torch.tensor(0.3))
    z = ember.sample("z", dist.Normal(prior, 1.0))
    ember.sample("x", dist.Normal(z, 0.7), obs=X)


def guide(observations=None):
    x = X if observations is None else observations["x"]
    weight = ember.param("weight", torch.tensor(0.2))
    scale = ember.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    ember.sample("z", dist.Normal(weight * x, scale))


@pytest.mark.parametrize("vectorize", [False, True])
def test_the_models_loss_is_the_weighted_bound(vectorize):
    wake_sleep = ReweightedWakeSleep(num_particles=5, vectorize_particles=vectorize)
    bound = RenyiELBO(num_particles=5, vectorize_particles=vectorize)
    for objective in (wake_sleep, bound):  # the nesting of plates is found
        objective.loss(model, guide)
    ember.set_rng_seed(0)
    wake, phi = wake_sleep.loss(model, guide)
    ember.set_rng_seed(0)
    assert wake.item() == pytest.approx(bound.loss(model, guide))
    assert isinstance(phi, torch.Tensor)
    # Samples are held fixed: the model's loss trains the model, the guide's loss the guide.
    wake_sleep.loss_and_grads(model, guide)
    assert all(ember.param(name).unconstrained().grad is not None for name in ("prior", "weight", "scale"))


def test_sleep_minimises_the_cross_entropy_of_the_models_joint():
    """-E_p[log q(z | x)] has a closed form; so has its gradient."""
    sleep = ReweightedWakeSleep(
        num_particles=2, insomnia=0.0, model_has_params=False, num_sleep_particles=4000, max_plate_nesting=0
    )
    wake, phi = sleep.loss(model, guide)
    assert wake.item() == 100.0

    def exact():
        prior, weight, scale = ember.param("prior"), ember.param("weight"), ember.param("scale")
        gap = ((1 - weight) * prior) ** 2 + (1 - weight) ** 2 + weight**2 * 0.49
        return 0.5 * gap / scale**2 + scale.log() + 0.5 * math.log(2 * math.pi)

    assert phi.item() == pytest.approx(exact().item(), abs=0.1)
    rows = samples(sleep, model, guide)
    leaves = [leaf for _, leaf in ember.get_param_store().named_parameters()]
    by_name = dict(zip(ember.get_param_store(), torch.autograd.grad(exact(), leaves), strict=True))
    by_name["prior"] = torch.tensor(0.0)  # its samples are held fixed
    assert_means_agree(rows, torch.stack([by_name[name] for name in ember.get_param_store()]))


def test_insomnia_mixes_both_phases():
    losses = {}
    for insomnia in (0.0, 0.3, 1.0):
        objective = ReweightedWakeSleep(num_particles=3, insomnia=insomnia, max_plate_nesting=0)
        ember.set_rng_seed(0)
        losses[insomnia] = [loss.item() for loss in objective.loss(model, guide)]
    assert losses[0.0][0] == losses[0.3][0] == losses[1.0][0]
    assert losses[0.3][1] == pytest.approx(0.3 * losses[1.0][1] + 0.7 * losses[0.0][1])


def test_gradients_of_the_guide_are_scores_also_where_sites_depend_on_each_other():
    """What is drawn from z1 must carry no gradient to the parameters of z1: all estimators of the chain agree."""
    wake = ReweightedWakeSleep(num_particles=4000, max_plate_nesting=0)
    path, score = (samples(wake, *chain(reparameterized), batches=15) for reparameterized in (True, False))
    assert_means_agree(path, score)


def test_both_losses_are_trained():
    svi = SVI(model, guide, Adam({"lr": 0.03}), ReweightedWakeSleep(num_particles=30, insomnia=0.5))
    result = svi.run(600, progress=False)
    assert result.losses.shape == (600, 2)
    # The evidence of one datum is largest where its prior mean is the datum.
    assert ember.param("prior").item() == pytest.approx(1.2, abs=0.15)
    assert isinstance(svi.step(), tuple) and isinstance(svi.evaluate_loss(), tuple)


def test_a_loss_that_is_not_finite_changes_nothing():
    bad = lambda observations=None: ember.sample("z", dist.Normal(float("nan"), 1.0, validate_args=False))
    svi = SVI(lambda: bad(), lambda: guide(), Adam({"lr": 0.1}), ReweightedWakeSleep())
    ember.param("prior", torch.tensor(0.0))
    guide()
    before = {name: leaf.clone() for name, leaf in ember.get_param_store().named_parameters()}
    with (
        pytest.raises(ValueError, match="loss is nan"),
        ember.infer.traces.validate_all.validation_enabled(False),
    ):
        svi.step()
    assert all(torch.equal(leaf, before[name]) for name, leaf in ember.get_param_store().named_parameters())


@pytest.mark.parametrize("compile", [False, True])
def test_steps_that_are_not_finite_are_left_out(compile):
    def noisy(x):
        z = ember.sample("z", dist.Normal(ember.param("prior", torch.tensor(0.3)), 1.0))
        ember.sample("x", dist.Normal(z, 0.7, validate_args=False), obs=x)

    svi = SVI(noisy, lambda x: guide(), Adam({"lr": 0.1}), ReweightedWakeSleep(), compile=compile)
    svi.programs.backend = Interpreter()
    with ember.infer.traces.validate_all.validation_enabled(False):
        for _ in range(3):
            svi.step(X)
        before = ember.param("weight").detach().clone()
        with pytest.raises(NonFiniteLossError) as caught:
            svi.step(X * math.nan)
        assert len(caught.value.loss) == 2
        result = svi.run(4, X * math.nan, progress=False, stable=True)
        assert result.num_skipped == 4 and result.losses.isnan().all() and result.losses.shape == (4, 2)
        assert torch.equal(ember.param("weight"), before)
        svi.step(X)
    assert not torch.equal(ember.param("weight"), before)


def test_arguments_are_checked():
    with pytest.raises(AssertionError, match="more than one particle"):
        ReweightedWakeSleep(num_particles=1)
    with pytest.raises(AssertionError, match="insomnia should be in"):
        ReweightedWakeSleep(insomnia=1.5)
    assert ReweightedWakeSleep(num_particles=4).num_sleep_particles == 4
