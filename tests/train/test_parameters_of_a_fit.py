"""Parameters belong to a fit: several fits in one process, and comparisons, without clearing a store."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.infer.autoguide import AutoNormal

Y = torch.tensor([1.0, 2.0, 3.0, 4.0])


def shifted(y: Tensor) -> None:
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(ember.param("loc", torch.tensor(0.0)), 1.0), obs=y)


def doubled(y: Tensor) -> None:
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(2.0 * ember.param("loc", torch.tensor(0.0)), 1.0), obs=y)


def nothing(y: Tensor) -> None: ...


def fitted(model: Any, guide: Any, y: Tensor, **options: Any) -> Any:
    svi = SVI(model, guide, ember.optim.Adam({"lr": 0.1}), Trace_ELBO(), **options)
    return svi.fit(y, steps=300, progress=False)


@pytest.fixture(autouse=True)
def clean() -> None:
    ember.clear_param_store()


def test_two_fits_with_one_name_do_not_meet() -> None:
    first = fitted(shifted, nothing, Y, param_store="own")
    second = fitted(doubled, nothing, Y, param_store="own")
    assert float(first.params["loc"]) == pytest.approx(2.5, abs=0.02)
    assert float(second.params["loc"]) == pytest.approx(1.25, abs=0.02)
    assert len(ember.get_param_store()) == 0


def test_a_result_keeps_its_parameters_when_others_train_on() -> None:
    first = fitted(shifted, nothing, Y)
    kept = first.params["loc"].clone()
    second = fitted(shifted, nothing, Y + 10.0)
    assert torch.equal(first.params["loc"], kept)
    assert float(second.params["loc"]) > 5.0


def test_fits_of_ember_fit_do_not_meet_either() -> None:
    def model(y: Tensor) -> None:
        scale = ember.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        mu = ember.sample("mu", dist.Normal(0.0, 1000.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(mu, scale), obs=y)

    narrow = ember.fit(model, Y, seed=0, draws=50, progress=False)
    wide = ember.fit(model, 10.0 * Y, seed=0, draws=50, progress=False)
    assert float(wide.params["scale"]) == pytest.approx(10.0 * float(narrow.params["scale"]), rel=0.02)
    assert len(ember.get_param_store()) == 0


def test_guides_read_the_store_that_they_were_fitted_in() -> None:
    """Reports and predictions of two fits, whose parameters have the same names, one after the other."""

    def model(y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 10.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(mu, 1.0), obs=y)

    torch.manual_seed(0)
    fits = []
    for shift in (0.0, 20.0):
        guide = AutoNormal(model)
        svi = SVI(model, guide, ember.optim.Adam({"lr": 0.1}), Trace_ELBO(), param_store="own")
        svi.fit(Y + shift, steps=600, progress=False)
        fits.append((svi, guide, Y + shift))
    for (svi, guide, y), mean in zip(fits, (2.5, 22.4), strict=True):
        assert ember.summary(svi, y)["mu"]["mean"] == pytest.approx(mean, abs=0.3)
        assert ember.summary(model, guide, y)["mu"]["mean"] == pytest.approx(mean, abs=0.3)
        drawn = Predictive(model, guide=guide, num_samples=50, by_rows=True)(y)["mu"]
        assert float(drawn.mean()) == pytest.approx(mean, abs=0.4)
    assert len(ember.get_param_store()) == 0


def test_models_are_compared_without_clearing() -> None:
    pytest.importorskip("arviz")
    x = torch.linspace(-1.0, 1.0, 30)
    torch.manual_seed(0)
    y = 3.0 * x + 0.5 * torch.randn(30)

    def line(x: Tensor, y: Tensor) -> None:
        b = ember.sample("b", dist.Normal(0.0, 5.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(b * x, 0.5), obs=y)

    def level(x: Tensor, y: Tensor) -> None:
        b = ember.sample("b", dist.Normal(0.0, 5.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(b + 0.0 * x, 2.0), obs=y)

    fits = {}
    for model in (line, level):
        svi = SVI(model, AutoNormal(model), ember.optim.Adam({"lr": 0.05}), Trace_ELBO(), param_store="own")
        svi.run(800, x, y, progress=False)
        fits[model.__name__] = svi
    table = ember.compare(fits, x, y, num_samples=500)
    assert table.names == ("line", "level")


# ---- predictions from what was fitted -------------------------------------------------------------------------------


def mean(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 10.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(mu, 1.0), obs=y)


def with_parameter(y: Tensor) -> None:
    mean(y)
    loc = ember.param("loc", torch.tensor(0.0))
    ember.sample("other", dist.Normal(loc, 1.0), obs=torch.tensor(3.0))
    ember.deterministic("shift", loc)


def test_a_run_has_its_parameters() -> None:
    svi = SVI(shifted, nothing, ember.optim.Adam({"lr": 0.1}), Trace_ELBO())
    runs = (
        lambda: svi.run(300, Y, progress=False),
        lambda: svi.run(Y, until="converged", progress=False),
    )
    for run in runs:
        result = run()
        assert float(result.params["loc"]) == pytest.approx(2.5, abs=0.02)
        assert torch.equal(result.params["loc"], ember.get_param_store()["loc"])
        svi.step(Y + 50.0)
        assert not torch.equal(result.params["loc"], ember.get_param_store()["loc"])


@pytest.mark.parametrize("by_rows", [False, True])
def test_predictions_of_an_svi_and_of_its_results(by_rows: bool) -> None:
    guide = AutoNormal(mean)
    svi = SVI(mean, guide, ember.optim.Adam({"lr": 0.05}), Trace_ELBO(), param_store="own")
    results = (svi, svi.run(400, Y, progress=False), svi.fit(Y, steps=1, progress=False))
    for result in (svi, results[2]):
        ember.set_rng_seed(1)
        found = Predictive(result, num_samples=50, by_rows=by_rows)(Y)["mu"]
        ember.set_rng_seed(1)
        wanted = Predictive(mean, guide=guide, num_samples=50, by_rows=by_rows)(Y)["mu"]
        assert torch.equal(found, wanted)
        assert ember.summary(result, Y)["mu"]["mean"] == pytest.approx(2.5, abs=0.15)
    with pytest.raises(
        ValueError, match=r"AutoNormal.locs.mu'(.|\n)* have changed since the fit ended(.|\n)*param_store"
    ):
        Predictive(results[1], num_samples=50)
    with pytest.raises(ValueError, match="num_samples must be specified"):
        Predictive(svi)


def test_parameters_that_change_after_it_was_made_are_noticed() -> None:
    result = fitted(shifted, nothing, Y)
    predictive = Predictive(result, num_samples=5, return_sites=["y"])
    with pytest.warns(UserWarning, match="draws nothing: the model observes 'y'"):
        assert predictive(Y)["y"].shape == (5, 4)
    ember.clear_param_store()
    with pytest.raises(ValueError, match=r"parameters \['loc'\] have changed"):
        predictive(Y)


def test_predictions_of_what_ember_fit_returns() -> None:
    fit = ember.fit(with_parameter, Y, seed=0, progress=False, draws=400, budget=120)
    ember.get_param_store().setdefault("loc", torch.tensor(100.0))
    every = Predictive(fit, return_sites=["y", "shift"])(Y)
    assert every["y"].shape == (400, 4)
    torch.testing.assert_close(every["shift"].flatten(), torch.full((400,), float(fit.params["loc"])))
    some = Predictive(fit, num_samples=3, return_sites=["mu"], by_rows=True)(Y)["mu"]
    assert torch.equal(some.flatten(), fit.draws["mu"][[0, 200, 399]])
    for wrong in ({"posterior_samples": dict(fit.draws)}, {"guide": fit.guide}):
        with pytest.raises(ValueError, match="a fit has draws or a guide of its own"):
            Predictive(fit, **wrong)


def test_results_are_copied_without_their_programs() -> None:
    svi = SVI(shifted, lambda y: None, ember.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for result in (svi.run(3, Y, progress=False), svi.fit(Y, steps=3, progress=False)):
        again = pickle.loads(pickle.dumps(result))
        assert again.fitted_programs is None and torch.equal(again.losses, result.losses)
        with pytest.raises(
            ValueError,
            match="the model must be a function(.|\n)* got SVIResult"
            if "SVI" in type(result).__name__
            else "got TrainResult",
        ):
            Predictive(again, num_samples=3)
