"""A site of data is not taken for latent by a guide whose first call does not give the data."""

import pytest
import torch
from tests.infer.autoguide.guide_table import BY_NAME, IAF

import ember
from ember import distributions as dist
from ember.errors import ModelError
from ember.infer import SVI, Predictive, Trace_ELBO, autoguide
from ember.optim import Adam

X = torch.linspace(-2.0, 2.0, 100)
Y = 1 + 2 * X + 0.5 * torch.randn(100, generator=torch.Generator().manual_seed(0))
NEW = torch.linspace(-1.0, 1.0, 20)


def model(x, y=None):
    a = ember.sample("a", dist.Normal(0.0, 3.0))
    b = ember.sample("b", dist.Normal(0.0, 3.0))
    s = ember.sample("s", dist.LogNormal(0.0, 1.0))
    with ember.plate("n", len(x)):
        return ember.sample("y", dist.Normal(a + b * x, s), obs=y)


def parts(program):
    guide = autoguide.AutoGuideList(program)
    guide.append(autoguide.AutoNormal(ember.poutine.block(program, hide=["s"])))
    guide.append(autoguide.AutoDelta(ember.poutine.block(program, expose=["s"])))
    return guide


GUIDES = {**{name: getattr(autoguide, name) for name in BY_NAME}, "AutoGuideList": parts}


def fitted(make, steps=400):
    guide = make(model)
    svi = SVI(model, guide, Adam({"lr": 0.03}), Trace_ELBO())
    for _ in range(steps):
        svi.step(X, Y)
    return guide


def spread(guide):
    """Means and standard deviations of predictions at new points."""
    draws = Predictive(model, guide=guide, num_samples=800, parallel=True)(NEW)["y"]
    return draws.mean(0), (draws - draws.mean(0)).std(0).mean()


@pytest.mark.parametrize("name", GUIDES)
def test_a_new_guide_with_loaded_parameters_predicts(name, tmp_path):
    guide = fitted(GUIDES[name])
    ember.get_param_store().save(str(tmp_path / "params"))
    for predicting in (guide, GUIDES[name](model)):
        mean, sd = spread(predicting)
        assert 0.4 < sd < 0.65 and (mean - 1 - 2 * NEW).abs().max() < 0.4
        ember.clear_param_store()
        ember.get_param_store().load(str(tmp_path / "params"))


def chain(y=None):
    level = ember.sample("level", dist.Normal(0.0, 1.0))
    for t in range(3):
        level = ember.sample(f"y{t}", dist.Normal(level, 1.0), obs=None if y is None else y[t])


@pytest.mark.parametrize("name", ["AutoNormal", "AutoMultivariateNormal"])
def test_data_that_depend_on_each_other(name):
    getattr(autoguide, name)(chain).prepare(torch.ones(3))
    guide = getattr(autoguide, name)(chain)
    assert list(guide()) == ["level"]


def longer(x, y=None):
    extra = ember.sample("extra", dist.Normal(0.0, 1.0))
    return ember.poutine.condition(model, {})(x + extra, y)


def test_a_site_that_others_depend_on_is_latent_though_it_is_new():
    autoguide.AutoNormal(model).prepare(X, Y)
    assert set(autoguide.AutoNormal(longer)(X, Y)) == {"extra", "a", "b", "s"}


def test_packed_parameters_that_do_not_tell():
    def ambiguous(y=None, z=None):
        mean = ember.sample("mean", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(mean, 1.0), obs=y)
        ember.sample("z", dist.Normal(mean, 1.0), obs=z)

    autoguide.AutoDiagonalNormal(ambiguous).prepare(torch.tensor(0.0))
    with pytest.raises(ModelError, match=r"'y', 'z'.*call the guide with the data first"):
        autoguide.AutoDiagonalNormal(ambiguous)()


def test_a_flow_finds_the_size_of_its_parameters():
    IAF(model).prepare(X, Y)
    assert set(IAF(model)(NEW)) == {"a", "b", "s"}


@pytest.mark.parametrize("name", ["AutoNormal", "AutoMultivariateNormal", "AutoStructured"])
def test_data_that_come_after_a_first_call_without_are_an_error(name):
    guide = getattr(autoguide, name)(model)
    guide(X)
    with pytest.raises(ModelError, match=r"'y' has data now.*guide.prepare"):
        SVI(model, guide, Adam({"lr": 0.03}), Trace_ELBO()).step(X, Y)


class OwnPosterior(autoguide.AutoNormalMessenger):
    def get_posterior(self, name, prior):
        if name == "a":
            return dist.Normal(ember.param("a_loc", torch.tensor(0.0)), 0.1)
        return super().get_posterior(name, prior)


def test_a_messenger_with_posteriors_of_its_own_leaves_data_to_the_model():
    mean, sd = spread(fitted(OwnPosterior))
    assert 0.4 < sd < 0.65 and (mean - 1 - 2 * NEW).abs().max() < 0.4


def test_or_says_that_it_cannot_tell():
    fitted(OwnPosterior, steps=1)
    with pytest.raises(ModelError, match="'y', which looks latent"):
        OwnPosterior(model)(NEW)
