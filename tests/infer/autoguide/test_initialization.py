"""Where guides start."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import biject_to

import ember
import ember.distributions as dist
from ember.infer import autoguide
from ember.infer.autoguide.base import initialization
from ember.infer.autoguide.base.initialization import InitMessenger
from ember.poutine import trace

PRIORS = {
    "real": dist.Normal(3.0, 1.0),
    "positive": dist.Gamma(4.0, 2.0),
    "unit": dist.Beta(2.0, 6.0),
    "interval": dist.Uniform(2.0, 4.0),
    "vector": dist.MultivariateNormal(torch.tensor([1.0, 2.0]), torch.eye(2)),
    "simplex": dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
    "corr": dist.LKJCholesky(3, torch.tensor(1.0)),
    "batch": dist.Exponential(torch.tensor([1.0, 2.0])),
    "heavy": dist.Cauchy(1.0, 1.0),
    "masked": dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False])).to_event(1),
}
FUNCTIONS = {
    "feasible": autoguide.init_to_feasible,
    "sample": autoguide.init_to_sample,
    "median": autoguide.init_to_median,
    "mean": autoguide.init_to_mean,
    "uniform": autoguide.init_to_uniform,
    "value": autoguide.init_to_value,
    "generated": autoguide.init_to_generated,
}


def site(name):
    return {"name": name, "fn": PRIORS[name]}


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("init", FUNCTIONS.values(), ids=FUNCTIONS)
def test_starts_have_the_sites_shape_and_lie_in_its_support(init, name):
    for fn in (init, init()):
        value = fn(site(name))
        assert value.shape == PRIORS[name].shape() and not value.requires_grad
        assert PRIORS[name].support.check(value).all()
        assert biject_to(PRIORS[name].support).inv(value).isfinite().all()


def test_feasible_points_ignore_parameters():
    for name in ("real", "positive", "simplex"):
        expected = {"real": torch.tensor(0.0), "positive": torch.tensor(1.0), "simplex": torch.ones(3) / 3}
        torch.testing.assert_close(autoguide.init_to_feasible(site(name)), expected[name])


def test_means_and_their_fallback():
    assert autoguide.init_to_mean(site("positive")) == 2.0
    with pytest.raises(ValueError, match="No init strategy specified for site 'heavy'"):
        autoguide.init_to_mean(site("heavy"), fallback=None)
    assert autoguide.init_to_mean(site("heavy"), fallback=autoguide.init_to_feasible) == 0.0
    infinite = {"name": "tau", "fn": dist.HalfCauchy(5.0)}
    assert autoguide.init_to_mean(infinite, fallback=autoguide.init_to_feasible) == 1.0


def test_medians():
    median = autoguide.init_to_median(site("real"), num_samples=4001)
    assert abs(median - 3.0) < 5 * 1.2533 / 4001**0.5
    torch.testing.assert_close(autoguide.init_to_median(site("vector")), torch.zeros(2))


def test_uniform_starts_stay_within_the_radius():
    values = torch.stack([autoguide.init_to_uniform(site("real"), radius=0.5) for _ in range(200)])
    assert values.abs().max() < 0.5 and values.abs().max() > 0.4


def test_given_values():
    value = torch.tensor(7.0)
    init = autoguide.init_to_value(values={"real": value}, fallback=None)
    assert init(site("real")) is value
    with pytest.raises(ValueError, match="site 'unit'"):
        init(site("unit"))


def test_generated_starts_change_once_a_run():
    calls = []

    def generate():
        calls.append(len(calls))
        return autoguide.init_to_value(values=dict.fromkeys("xy", torch.tensor(float(len(calls)))))

    def model():
        return [ember.sample(name, dist.Normal(0.0, 1.0)) for name in "xy"]

    started = InitMessenger(autoguide.init_to_generated(generate=generate))(model)
    assert [started() for _ in range(3)] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_existing_values_are_kept():
    def model():
        ember.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(5.0))
        with ember.plate("p", 10, subsample_size=2):
            ember.sample("y", dist.Normal(0.0, 1.0))

    recorded = trace(InitMessenger(autoguide.init_to_mean)(model)).get_trace()
    assert recorded.nodes["x"]["value"] == 5.0
    assert torch.equal(recorded.nodes["y"]["value"], torch.zeros(2))


def test_starts_are_expanded_to_plates():
    def model():
        with ember.plate("p", 3):
            ember.sample("y", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    start = torch.tensor([1.0, 2.0])
    guide = autoguide.AutoDelta(model, init_loc_fn=autoguide.init_to_value(values={"y": start})).prepare()
    assert torch.equal(guide.median()["y"], start.expand(3, 2))


def test_the_handler_answers_who_initializes():
    from ember.poutine.runtime import effectful

    @effectful(type="get_init_messengers")
    def initializers():
        return []

    one, two = InitMessenger(autoguide.init_to_mean), InitMessenger(autoguide.init_to_sample)
    with one, two:
        assert initializers() == [two, one]


@pytest.mark.parametrize(
    ("make", "init_scale"),
    [
        (make, scale)
        for make in (
            autoguide.AutoDiagonalNormal,
            autoguide.AutoMultivariateNormal,
            autoguide.AutoLowRankMultivariateNormal,
        )
        for scale in (0.1, 1.0)
    ],
)
def test_first_scales(make, init_scale):
    def model():
        ember.sample("x", dist.Normal(0.0, 1.0))
        with ember.plate("plate", 100):
            ember.sample("z", dist.Normal(0.0, 1.0))

    _, scale = make(model, init_scale=init_scale).prepare()._loc_scale()
    assert 0.5 * init_scale < scale.square().mean().sqrt() < 2 * init_scale


def test_distributions_that_cannot_be_drawn_from():
    class Flat(dist.TorchDistribution):
        support = dist.constraints.positive
        arg_constraints = {}

        def sample(self, sample_shape=()):
            raise NotImplementedError("no sampling")

        def log_prob(self, value):
            return torch.zeros(value.shape)

    flat = {"name": "x", "fn": Flat()}
    assert autoguide.init_to_feasible(flat) == 1.0
    assert autoguide.init_to_median(flat) == 1.0
    assert autoguide.init_to_mean(flat) == 1.0
    assert autoguide.init_to_uniform(flat) > 0
    assert initialization._is_multivariate(PRIORS["vector"]) and not initialization._is_multivariate(
        PRIORS["masked"]
    )


def test_rounding_is_not_outside_the_support():
    def model():
        ember.sample("p", dist.Dirichlet(torch.ones(20_000)))

    for init in (autoguide.init_to_feasible, autoguide.init_to_mean, autoguide.init_to_sample):
        assert autoguide.AutoDelta(model, init_loc_fn=init).prepare().median()["p"].shape == (20_000,)


def test_plates_without_a_size():
    def model():
        with ember.plate("rows"):
            ember.sample("z", dist.Normal(torch.zeros(4), 1.0))

    for make in (
        autoguide.AutoNormal,
        autoguide.AutoDelta,
        autoguide.AutoDiagonalNormal,
        autoguide.AutoNormalMessenger,
    ):
        assert make(model)()["z"].shape == (4,)


@pytest.mark.parametrize("value", [torch.tensor(3.0), torch.tensor([3.0, -1.0])])
def test_the_median_of_a_constant(value):
    """Its draws are one piece of memory, of which torch 2.13 gives a wrong median."""
    assert torch.equal(autoguide.init_to_median({"name": "x", "fn": dist.Delta(value)}), value)
