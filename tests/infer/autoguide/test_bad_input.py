"""What guides refuse, and that they name the site and the way out before anything is changed."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import Adam
from ember.poutine import block

CONTINUOUS = [
    autoguide.AutoNormal,
    autoguide.AutoDelta,
    autoguide.AutoDiagonalNormal,
    autoguide.AutoMultivariateNormal,
    autoguide.AutoLowRankMultivariateNormal,
    autoguide.AutoLaplaceApproximation,
    autoguide.AutoStructured,
]
MESSENGERS = [autoguide.AutoNormalMessenger, autoguide.AutoRegressiveMessenger]
PACKED = CONTINUOUS[2:6]


def two_sites():
    ember.sample("x", dist.Normal(0.0, 1.0))
    ember.sample("y", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize("make", CONTINUOUS + MESSENGERS)
def test_discrete_sites(make):
    def model():
        ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("z", dist.Bernoulli(0.5))

    guide = (
        make(model)
        if make is not autoguide.AutoStructured
        else make(model, dependencies={}, conditionals={"x": "normal", "z": "normal"})
    )
    for _ in range(2):  # a failed set-up leaves nothing half done
        with pytest.raises(ValueError, match=r"'z'.*enumeration.html.*hide"):
            guide()
    if make in CONTINUOUS:
        assert not list(guide.parameters()) and not list(ember.get_param_store())


class Sphere(dist.TorchDistribution):
    support = dist.constraints.sphere
    arg_constraints = {}

    def __init__(self):
        super().__init__((), (3,))

    def sample(self, sample_shape=()):
        return torch.tensor([1.0, 0.0, 0.0]).expand(*sample_shape, 3)

    def log_prob(self, value):
        return torch.zeros(value.shape[:-1])


@pytest.mark.parametrize("make", [c for c in CONTINUOUS if c is not autoguide.AutoDelta] + MESSENGERS)
def test_sites_on_a_sphere(make):
    def model():
        ember.sample("z", Sphere())

    with pytest.raises(ValueError, match=r"'z'.*ProjectedNormalReparam"):
        make(model)()


@pytest.mark.parametrize("make", CONTINUOUS + [autoguide.AutoNormalMessenger])
def test_sequential_plates(make):
    def model():
        for i in ember.plate("steps", 2):
            ember.sample(f"x{i}", dist.Normal(0.0, 1.0))

    with pytest.raises(NotImplementedError, match=r"does not support sequential pyro.plate.*steps"):
        make(model)()


@pytest.mark.parametrize("make", PACKED + [autoguide.AutoIAFNormal])
def test_empty_models(make):
    with pytest.raises(RuntimeError, match="found no latent variables; Use an empty guide instead"):
        make(lambda: None)()


@pytest.mark.parametrize("make", CONTINUOUS)
def test_sites_that_appear_later(make):
    def model(more):
        ember.sample("x", dist.Normal(0.0, 1.0))
        if more:
            ember.sample("late", dist.Normal(0.0, 1.0))

    guide = (
        make(model)
        if make is not autoguide.AutoStructured
        else make(model, conditionals={"x": "normal"}, dependencies={})
    )
    svi = SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO())
    svi.step(False)
    before = {name: value.detach().clone() for name, value in ember.get_param_store().items()}
    with pytest.raises(ValueError, match=r"late.*did not have"):
        svi.step(True)
    for name, value in ember.get_param_store().items():
        assert torch.equal(value, before[name])


def test_sites_that_are_hidden_from_the_guide_are_none_of_its_business():
    def model():
        two_sites()

    guide = autoguide.AutoNormal(block(model, hide=["y"]))
    with pytest.warns(UserWarning, match="Found vars in model but not guide: {'y'}"):
        Trace_ELBO().loss(model, guide)


@pytest.mark.parametrize("make", CONTINUOUS + MESSENGERS)
def test_improper_initial_values(make):
    def model():
        ember.sample("x", dist.Gamma(2.0, 1.0))
        with ember.plate("p", 3):
            ember.sample("y", dist.Normal(0.0, 1.0))

    extra = {} if make is not autoguide.AutoStructured else {"conditionals": "normal", "dependencies": {}}
    for name, value, message in (
        ("x", torch.tensor(-1.0), "outside the support for site x"),
        ("x", torch.ones(2), "invalid shape for site x"),
        ("y", torch.ones(4), "invalid shape for site y"),
        ("x", 1.0, "invalid type for site x"),
    ):
        init = autoguide.init_to_value(values={name: value}, fallback=autoguide.init_to_feasible)
        guide = make(model, init_loc_fn=init, **extra)
        with pytest.raises(ValueError, match=message):
            guide()
        if make in CONTINUOUS:
            assert not list(guide.parameters())


def test_starts_at_the_border():
    def model():
        ember.sample("x", dist.HalfNormal(1.0))

    init = autoguide.init_to_value(values={"x": torch.tensor(0.0)})
    for make in (autoguide.AutoNormal, autoguide.AutoDiagonalNormal, autoguide.AutoNormalMessenger):
        with pytest.raises(ValueError, match=r"'x'.*border"):
            make(model, init_loc_fn=init)()


@pytest.mark.parametrize("scale", [0.0, -1.0, 1, "a"])
@pytest.mark.parametrize(
    "make",
    [
        CONTINUOUS[0],
        *CONTINUOUS[2:5],
        autoguide.AutoStructured,
        *MESSENGERS,
        autoguide.AutoHierarchicalNormalMessenger,
    ],
)
def test_init_scale(make, scale):
    with pytest.raises(ValueError, match="Expected init_scale > 0"):
        make(two_sites, init_scale=scale)


def test_rank():
    with pytest.raises(ValueError, match="Expected rank > 0"):
        autoguide.AutoLowRankMultivariateNormal(two_sites, rank=0)


def test_using_a_guide_before_its_first_call():
    with pytest.raises(RuntimeError, match="prepare"):
        autoguide.AutoNormal(two_sites).median()


def test_laplace_away_from_a_mode():
    def model():
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        ember.factor("f", x**4)

    guide = autoguide.AutoLaplaceApproximation(model).prepare()
    guide.loc.data.fill_(2.0)
    with pytest.raises(ValueError, match="not positive definite"):
        guide.laplace_approximation()


def test_the_users_initial_value_is_not_trained():
    start = torch.zeros(3)

    def model():
        ember.sample("x", dist.Normal(torch.ones(3), 1.0).to_event(1))

    for make in (autoguide.AutoDelta, autoguide.AutoNormal, autoguide.AutoNormalMessenger):
        ember.clear_param_store()
        guide = make(model, init_loc_fn=autoguide.init_to_value(values={"x": start}))
        SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO()).step()
        assert torch.equal(start, torch.zeros(3))


def test_sites_may_have_names_of_module_methods():
    names = ("half", "type", "train", "parameters", "a.half", "median", "call")

    def model():
        for name in names:
            ember.sample(name, dist.Normal(0.0, 1.0))

    for make in CONTINUOUS[:6] + MESSENGERS:
        ember.clear_param_store()
        assert set(make(model)()) == set(names)
    guide = autoguide.AutoStructured(
        model, conditionals="normal", dependencies={"half": {"type": "linear"}, "a.half": {"half": "linear"}}
    )
    assert set(guide()) == set(names)
