"""Fits by steps: guides of the user's, and models that see a part of their data."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer.autoguide import AutoNormal
from tests.fit.programs import FLIPS, coin, subsampled

Y = 2.0 + torch.sin(torch.arange(60.0) * 5)


def posterior_of_loc() -> tuple[float, float]:
    precision = 1 / 100 + len(Y)
    return float(Y.sum()) / precision, precision**-0.5


def test_a_model_of_subsamples_is_fitted_and_judged_over_all_data() -> None:
    fit = ember.fit(subsampled, Y, seed=0, progress=False)
    mean, sd = posterior_of_loc()
    row = fit.summary()["loc"]
    assert fit.verdict.status == "ok"
    assert row["mean"] == pytest.approx(mean, abs=0.06 * sd)
    assert row["sd"] == pytest.approx(sd, rel=0.06)
    assert "trained for" in str(fit)


def test_a_class_of_guides_is_trained() -> None:
    fit = ember.fit(coin, FLIPS, guide=AutoNormal, seed=0, progress=False)
    assert fit.summary()["fairness"]["mean"] == pytest.approx(9 / 14, abs=0.01)
    assert isinstance(fit.guide, AutoNormal)


def test_a_guide_of_the_users() -> None:
    def guide(flips: Tensor) -> None:
        a = ember.param("a", torch.tensor(2.0), constraint=dist.constraints.positive)
        b = ember.param("b", torch.tensor(2.0), constraint=dist.constraints.positive)
        ember.sample("fairness", dist.Beta(a, b))

    fit = ember.fit(coin, FLIPS, guide=guide, seed=0, progress=False)
    assert fit.verdict.status == "ok"
    assert float(fit.params["a"]) == pytest.approx(9.0, rel=0.25)
    assert not list(ember.get_param_store())


def test_a_guide_that_is_too_narrow_by_construction_is_corrected_or_not_ok() -> None:
    def narrow(flips: Tensor) -> None:
        loc = ember.param("loc", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
        ember.sample("fairness", dist.Beta(400 * loc, 400 * (1 - loc)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = ember.fit(coin, FLIPS, guide=narrow, seed=0, progress=False, budget=10)
    assert not fit.verdict


def test_what_is_unverified_warns_and_raises_nothing() -> None:
    def model(y: Tensor) -> None:
        loc = ember.sample("loc", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(y), subsample_size=5) as rows:  # reshape: five rows, and no others
            ember.sample("y", dist.Normal(loc, 1.0).expand([5]), obs=y[rows].reshape(5))

    with pytest.warns(UserWarning, match="ember.fit of model: unverified"):
        fit = ember.fit(model, Y, guide="mean-field", seed=0, progress=False, budget=0.5, strict=True)
    assert fit.verdict.status == "unverified" and fit.verdict.reasons


def test_local_latents_of_a_part_cannot_be_verified() -> None:
    def model(y: Tensor) -> None:
        loc = ember.sample("loc", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(y), subsample_size=5) as rows:
            z = ember.sample("z", dist.Normal(loc, 1.0))
            ember.sample("y", dist.Normal(z, 1.0), obs=y[rows])

    def guide(y: Tensor) -> None:
        at = ember.param("at", torch.tensor(0.0))
        ember.sample("loc", dist.Normal(at, 0.2))
        with ember.plate("rows", len(y), subsample_size=5):
            ember.sample("z", dist.Normal(at, 1.0).expand([5]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = ember.fit(model, Y, guide=guide, seed=0, progress=False, budget=5)
    assert fit.verdict.status in ("unverified", "poor", "not converged")
    assert not fit.verdict


def test_families_without_steps_are_refused_for_parts() -> None:
    with pytest.raises(ValueError, match="'flow' needs the log density of all data"):
        ember.fit(subsampled, Y, guide="flow", seed=0, progress=False)


def test_the_same_seed_gives_the_same_fit_and_leaves_the_stream_alone() -> None:
    before = torch.get_rng_state()
    fits = [ember.fit(coin, FLIPS, guide=AutoNormal, seed=1, progress=False) for _ in range(2)]
    assert torch.equal(fits[0].draws["fairness"], fits[1].draws["fairness"])
    assert torch.equal(before, torch.get_rng_state())
