"""ArviZ takes what is exported, and its own functions work on it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember.report import to_arviz
from tests.report.programs import Y, draws, model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    arviz = pytest.importorskip("arviz")


def exported(**options: Any) -> Any:
    return to_arviz(model, draws(40), Y, **options)


def test_groups_dims_and_coords() -> None:
    data = exported(coords={"groups": ["left", "right"]}, sample_stats={"lp": torch.zeros(40)})
    assert data.posterior["b"].dims == ("chain", "draw", "groups", "b_dim_0", "b_dim_1")
    assert data.posterior["b"].shape == (1, 40, 2, 1, 2)
    assert data.log_likelihood["y"].dims == ("chain", "draw", "groups", "rows")
    assert list(data.observed_data["y"].coords["groups"].values) == ["left", "right"]
    assert data.sample_stats["lp"].shape == (1, 40)


def test_attributes_are_kept() -> None:
    assert exported(attrs={"verdict": "ok"}, pointwise=False).attrs["verdict"] == "ok"


def test_unknown_coords_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\['school'\]; there are .*'groups'"):
        exported(coords={"school": [1, 2]})


def test_no_draws_are_an_error() -> None:
    with pytest.raises(ValueError, match="got none"):
        to_arviz(model, {}, Y)


def test_leave_one_out_is_near_the_exact_one() -> None:
    """Normal data with a normal prior: the predictive density of each point given the others is a normal."""
    torch.manual_seed(0)
    y = torch.randn(20, dtype=torch.float64) * 1.5
    prior_sd, noise = 3.0, 1.5

    def conjugate(y: torch.Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(torch.zeros((), dtype=torch.float64), prior_sd))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(mu, noise), obs=y)

    def given(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        precision = prior_sd**-2 + len(y) * noise**-2
        return y.sum() * noise**-2 / precision, torch.as_tensor(precision**-0.5)

    mean, sd = given(y)
    # Over seeds the estimate has a standard error of 0.03.
    data = to_arviz(conjugate, {"mu": mean + sd * torch.randn(4000, dtype=torch.float64)}, y)
    exact = 0.0
    for i in range(len(y)):
        loc, scale = given(torch.cat([y[:i], y[i + 1 :]]))
        exact += float(dist.Normal(loc, (scale**2 + noise**2).sqrt()).log_prob(y[i]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = arviz.loo(data)
    elpd = found["elpd_loo"] if int(arviz.__version__[0]) < 1 else found.elpd
    assert float(elpd) == pytest.approx(exact, abs=0.1)


def test_a_guide_and_a_mixture_whose_labels_are_summed_out() -> None:
    def mixture(y: torch.Tensor) -> None:
        low = ember.sample("low", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(y)):
            z = ember.sample("z", dist.Bernoulli(0.5))
            ember.sample("y", dist.Normal(low + 4.0 * z, 1.0), obs=y)

    def guide(y: torch.Tensor) -> None:
        ember.sample("low", dist.Normal(ember.param("loc", torch.tensor(0.0)), 0.1))

    y = torch.tensor([0.0, 4.0, 2.0])
    data = to_arviz(mixture, guide, y, num_samples=30)
    assert data.posterior["low"].shape == (1, 30)
    low = torch.as_tensor(data.posterior["low"].values[0])[:, None]
    terms = [dist.Normal(low + shift, 1.0).log_prob(y) for shift in (0.0, 4.0)]
    expected = torch.logaddexp(*terms) - torch.tensor(2.0).log()
    torch.testing.assert_close(torch.as_tensor(data.log_likelihood["y"].values[0]), expected)
    assert data.log_likelihood["y"].dims == ("chain", "draw", "rows")
