"""Two fits in one process: a guide reads what it was fitted with, or a warning says that two share their parameters."""

import copy
import gc
import pickle
import warnings

import pytest
import torch

import ember
from ember import distributions as dist
from ember.infer import SVI, Predictive, Trace_ELBO, WeighedPredictive, autoguide
from ember.optim import Adam
from ember.params import ParamStoreDict

Y = torch.tensor([2.9, 3.1, 3.0])
NAMES = [
    "AutoNormal",
    "AutoDelta",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoStructured",
    "AutoGaussian",
]


def model(y=None):
    z = ember.sample("z", dist.Normal(0.0, 10.0))
    with ember.plate("d", 3):
        ember.sample("y", dist.Normal(z, 1.0), obs=y)


def other(y=None):
    model(y)


def by_hand(y=None):
    loc = ember.param("loc", torch.tensor(0.0))
    ember.sample("z", dist.Normal(loc, ember.param("sd", torch.tensor(1.0), dist.constraints.positive)))


def fit(program, guide, y, store=None, steps=400):
    svi = SVI(program, guide, Adam({"lr": 0.05}), Trace_ELBO(), param_store=store)
    for _ in range(steps):
        svi.step(y)
    return guide


def predicted(guide):
    return Predictive(model, guide=guide, num_samples=300)()["z"].mean().item()


@pytest.mark.parametrize("name", NAMES)
def test_a_store_of_its_own(name):
    store = ParamStoreDict()
    guide = fit(model, getattr(autoguide, name)(model), Y, store)
    assert predicted(guide) == pytest.approx(3.0, abs=0.3)
    assert guide.median()["z"].item() == pytest.approx(3.0, abs=0.3)
    assert not len(ember.get_param_store())


def test_a_function_in_a_store_of_its_own():
    fit(model, by_hand, Y, ParamStoreDict())
    assert predicted(by_hand) == pytest.approx(3.0, abs=0.3)
    assert predicted(ember.poutine.scale(by_hand, scale=2.0)) == pytest.approx(3.0, abs=0.3)
    weighed = WeighedPredictive(model, guide=by_hand, num_samples=100, parallel=True)(Y, model_guide=model)
    assert weighed.samples["z"].mean().item() == pytest.approx(3.0, abs=0.4)
    fit(model, by_hand, -Y)  # fitted again, in the store that is active
    assert predicted(by_hand) == pytest.approx(-3.0, abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_cleared_between_fits(name):
    first = fit(model, getattr(autoguide, name)(model), Y)
    ember.clear_param_store()
    second = fit(other, getattr(autoguide, name)(other), -Y)
    for guide, right in ((first, 3.0), (second, -3.0), (first, 3.0)):
        assert predicted(guide) == pytest.approx(right, abs=0.6)
        assert guide.median()["z"].item() == pytest.approx(right, abs=0.6)


def test_the_first_goes_on_though_the_second_is_gone():
    first = fit(model, autoguide.AutoNormal(model), Y)
    ember.clear_param_store()
    fit(other, autoguide.AutoNormal(other), -Y)
    gc.collect()
    assert predicted(first) == pytest.approx(3.0, abs=0.3)


def test_a_second_guide_of_the_name_warns_once():
    first = fit(model, autoguide.AutoNormal(model), Y, steps=2)
    second = autoguide.AutoNormal(other)
    with pytest.warns(UserWarning, match=r"AutoNormal\.\*.*another AutoNormal.*param_store"):
        fit(other, second, -Y, steps=1)
    fit(other, second, -Y, steps=2)
    assert first is not second


def test_training_a_guide_whose_names_another_has_warns():
    first = fit(model, autoguide.AutoNormal(model), Y, steps=2)
    ember.clear_param_store()
    second = fit(other, autoguide.AutoNormal(other), -Y, steps=2)
    with pytest.warns(UserWarning, match="another AutoNormal"):
        fit(model, first, Y, steps=1)
    assert second is not first


def test_the_same_model_again_does_not_warn():
    """A cell of a notebook that is run twice goes on with its parameters."""
    first = fit(model, autoguide.AutoNormal(model), Y, steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, autoguide.AutoNormal(model), Y, steps=2)
    assert first is not None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_is_read_at_once(name, tmp_path):
    """Also by a new guide, whose model needs no arguments."""
    guide = fit(model, getattr(autoguide, name)(model), Y, steps=50)
    ember.get_param_store().save(str(tmp_path / "params"))
    before = guide.median()["z"]
    fit(model, guide, -Y, steps=50)
    assert guide.median()["z"] != before
    ember.get_param_store().load(str(tmp_path / "params"))
    assert guide.median()["z"] == before
    new = getattr(autoguide, name)(model)
    assert new.median()["z"] == before
    assert set(new.median()) == {"z"}


def test_quantiles_are_read_at_once_too(tmp_path):
    for make in (autoguide.AutoNormal, autoguide.AutoMultivariateNormal):
        guide = fit(model, make(model), Y, steps=50)
        ember.get_param_store().save(str(tmp_path / "params"))
        before = guide.quantiles([0.1, 0.9])["z"]
        fit(model, guide, -Y, steps=50)
        ember.get_param_store().load(str(tmp_path / "params"))
        assert torch.equal(guide.quantiles([0.1, 0.9])["z"], before)
        assert torch.equal(make(model).quantiles([0.1, 0.9], Y)["z"], before)


def test_median_hides_its_parameters_from_handlers_and_plates():
    guide = fit(model, autoguide.AutoNormal(model), Y, steps=2)
    with ember.poutine.trace() as recorded, ember.plate("around", 5):
        assert guide.median()["z"].shape == ()
    assert not list(recorded.trace.nodes) or list(recorded.trace.nodes) == ["around"]


def test_a_guide_can_be_pickled_after_a_fit():
    guide = fit(model, autoguide.AutoNormal(model), Y, steps=2)
    assert pickle.loads(pickle.dumps(guide)).median()["z"] == guide.median()["z"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda guide: pickle.loads(pickle.dumps(guide))])
def test_a_copy_keeps_what_it_was_copied_with(name, copied):
    """As a snapshot of the best fit so far; training the copy goes on with the parameters in the store."""
    guide = fit(model, getattr(autoguide, name)(model), Y, steps=2)
    before = guide.median()["z"]
    best = copied(guide)
    fit(model, guide, -Y, steps=50)
    assert guide.median()["z"] != before
    assert best.median()["z"] == before
    with torch.no_grad():
        drawn = torch.stack([best(Y)["z"] for _ in range(20)])
    assert (drawn.mean() - before).abs() < (drawn.mean() - guide.median()["z"]).abs()
    if best._model is None:  # as pickled
        best._model = (model,)
    fit(model, best, -Y, steps=1)
    assert best.median()["z"] == guide.median()["z"] != before
