"""Parameters belong to a fit: several fits in one process, and comparisons, without clearing a store."""

from __future__ import annotations

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
