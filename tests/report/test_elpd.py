"""Leave-one-out and WAIC against what is known exactly, and comparisons whose order is known."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    arviz = pytest.importorskip("arviz")

PRIOR_SD, NOISE = 3.0, 1.5
D = torch.float64


def data() -> Tensor:
    return 1.0 + NOISE * torch.randn(20, dtype=D, generator=torch.Generator().manual_seed(3))


def conjugate(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(torch.zeros((), dtype=D), PRIOR_SD))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(mu, NOISE), obs=y)


def posterior_of(y: Tensor) -> tuple[Tensor, Tensor]:
    precision = PRIOR_SD**-2 + len(y) * NOISE**-2
    return y.sum() * NOISE**-2 / precision, torch.as_tensor(precision**-0.5, dtype=D)


def exact_loo(y: Tensor) -> Tensor:
    """The predictive density of each point given the others is a normal."""
    rows = []
    for i in range(len(y)):
        loc, scale = posterior_of(torch.cat([y[:i], y[i + 1 :]]))
        rows.append(dist.Normal(loc, (scale**2 + NOISE**2).sqrt()).log_prob(y[i]))
    return torch.stack(rows)


def exact_draws(y: Tensor, number: int = 4000) -> dict[str, Tensor]:
    mean, sd = posterior_of(y)
    return {"mu": mean + sd * torch.randn(number, dtype=D, generator=torch.Generator().manual_seed(0))}


def normal_guide(loc: float, scale: float) -> Any:
    def guide(y: Tensor) -> None:
        ember.sample("mu", dist.Normal(torch.tensor(loc, dtype=D), scale))

    return guide


def test_loo_of_exact_draws_is_the_exact_one() -> None:
    y = data()
    # Of 4,000 draws the standard error has a Monte Carlo error of 2 %.
    found = ember.loo(conjugate, exact_draws(y, 40_000), y)
    # The Monte Carlo error of the sum is about 0.02, of a term 0.01.
    assert found.elpd == pytest.approx(float(exact_loo(y).sum()), abs=0.08)
    torch.testing.assert_close(found.pointwise, exact_loo(y), atol=0.04, rtol=0.0)
    assert found.se == pytest.approx(float((20 * exact_loo(y).var(unbiased=False)).sqrt()), rel=0.02)
    mean, sd = posterior_of(y)
    seen = dist.Normal(mean, (sd**2 + NOISE**2).sqrt()).log_prob(y)
    assert found.p == pytest.approx(float((seen - exact_loo(y)).sum()), abs=0.05)
    assert found.k_hat is not None
    assert float(found.k_hat.max()) < 0.5
    assert str(found).startswith("elpd_loo -")


def test_waic_is_near_and_the_same_as_by_arviz() -> None:
    y = data()
    found = ember.waic(conjugate, exact_draws(y), y, num_samples=4000)
    assert found.elpd == pytest.approx(float(exact_loo(y).sum()), abs=0.1)
    if hasattr(arviz, "waic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = arviz.waic(ember.report.to_arviz(conjugate, exact_draws(y), y))
        assert found.elpd == pytest.approx(float(other.elpd_waic), abs=1e-3)
        assert found.se == pytest.approx(float(other.se), rel=1e-3)
        assert found.p == pytest.approx(float(other.p_waic), rel=1e-3)


def test_a_guide_that_is_too_wide_is_corrected() -> None:
    y = data()
    torch.manual_seed(0)
    mean, sd = posterior_of(y)
    guide = normal_guide(float(mean) + 0.1, 1.5 * float(sd))
    svi = SVI(conjugate, guide, ember.optim.Adam({"lr": 0.01}), Trace_ELBO(), param_store="own")
    found = ember.loo(svi, y)
    assert found.elpd == pytest.approx(float(exact_loo(y).sum()), abs=0.1)
    assert not found.warnings


def test_a_guide_that_cannot_be_corrected_gives_a_warning() -> None:
    y = data()
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="the guide stands for the posterior as it is: k-hat"):
        found = ember.loo(conjugate, normal_guide(0.0, 0.05), y, num_samples=500)
    assert "k-hat" in str(found)


def test_observations_whose_k_hat_is_too_high_are_counted() -> None:
    """One observation is so far off that the draws given the others are of another place."""
    y = torch.cat([data(), torch.tensor([30.0], dtype=D)])
    with pytest.warns(UserWarning, match=r"ember.loo: k-hat is above 0.7. for 1 of 21 observations"):
        found = ember.loo(conjugate, exact_draws(y), y)
    assert int(found.k_hat.argmax()) == 20 and "1 of 21" in str(found)


def test_a_point_is_no_posterior() -> None:
    y = data()
    guide = AutoDelta(conjugate)
    with pytest.warns(UserWarning, match="the guide is one point"):
        assert ember.loo(conjugate, guide, y, num_samples=100).p == pytest.approx(0.0, abs=1e-6)


def test_fit() -> None:
    y = data()
    fit = ember.fit(conjugate, y, seed=0, progress=False)
    assert ember.loo(fit).elpd == pytest.approx(float(exact_loo(y).sum()), abs=0.08)
    assert ember.waic(fit, num_samples=1000).kind == "waic"


def straight(x: Tensor, y: Tensor) -> None:
    b = ember.sample("b", dist.Normal(torch.zeros((), dtype=D), 2.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(b * x, 1.0), obs=y)


def flat(x: Tensor, y: Tensor) -> None:
    a = ember.sample("a", dist.Normal(torch.zeros((), dtype=D), 2.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(a, 1.0), obs=y)


def test_the_model_of_the_data_comes_first() -> None:
    torch.manual_seed(0)
    x = torch.linspace(-1.0, 1.0, 40, dtype=D)
    y = 2.0 * x + torch.randn(40, dtype=D)
    fit = ember.fit(straight, x, y, seed=0, draws=1000, progress=False)
    table = ember.compare({"flat": (flat, {"a": 0.1 * torch.randn(1000, dtype=D)}), "straight": fit}, x, y)
    assert table.names == ("straight", "flat")
    assert table["straight"]["diff"] == 0.0
    assert table["straight"]["weight"] > 0.9
    assert table["flat"]["diff"] > 3 * table["flat"]["dse"] > 0
    own = ember.loo(fit)
    other = ember.loo(flat, {"a": 0.1 * torch.randn(1000, dtype=D)}, x, y)
    again = ember.compare({"a": own, "b": other})
    assert again["b"]["diff"] == pytest.approx(own.elpd - other.elpd)


def test_models_of_other_data_cannot_be_compared() -> None:
    y = data()
    one, other = ember.loo(conjugate, exact_draws(y), y), ember.loo(conjugate, exact_draws(y), y[:10])
    with pytest.raises(ValueError, match="'a': 'loo of 20 observations', 'b': 'loo of 10 observations'"):
        ember.compare({"a": one, "b": other})
    with pytest.raises(ValueError, match="two models or more"):
        ember.compare({"a": one})
    with pytest.raises(ValueError, match="'b': 'waic of"):
        ember.compare({"a": one, "b": ember.waic(conjugate, exact_draws(y), y)})


def test_hidden_rows_are_no_observations_and_sites_are_named() -> None:
    here = torch.tensor([True] * 5 + [False] * 3)

    def two(y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(torch.zeros((), dtype=D), 1.0))
        with ember.plate("rows", 8), poutine.mask(mask=here):
            ember.sample("y", dist.Normal(mu, 1.0), obs=y)
        ember.sample("last", dist.Normal(mu, 1.0), obs=torch.tensor(0.3, dtype=D))

    y, draws = data()[:8], {"mu": 0.3 * torch.randn(500, dtype=D)}
    assert len(ember.loo(two, draws, y, site="y").pointwise) == 5
    assert len(ember.loo(two, draws, y, site=["y", "last"]).pointwise) == 6
    with pytest.raises(ValueError, match=r"observed sites \['y', 'last'\]: say which by site"):
        ember.loo(two, draws, y)
    with pytest.raises(ValueError, match="got 'z'"):
        ember.waic(two, draws, y, site="z")


def test_mixtures_are_compared_with_their_labels_summed_out() -> None:
    torch.manual_seed(1)
    y = torch.cat([torch.randn(30) - 3, torch.randn(30) + 3])

    def mixture(y: Tensor) -> None:
        with ember.plate("rows", len(y)):
            z = ember.sample("z", dist.Bernoulli(0.5))
            ember.sample("y", dist.Normal(6.0 * z - 3.0, 1.0), obs=y)

    def one(y: Tensor) -> None:
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(0.0, 3.2), obs=y)

    nothing: dict[str, Tensor] = {"unused": torch.zeros(200)}
    table = ember.compare({"one": (one, nothing), "two": (mixture, nothing)}, y)
    assert table.names == ("two", "one")


def test_a_chain_is_one_observation() -> None:
    def chain(y: Tensor) -> None:
        state = torch.tensor(0)
        for t in ember.markov(range(3)):
            state = ember.sample(f"s_{t}", dist.Categorical(torch.tensor([[0.9, 0.1], [0.3, 0.7]])[state]))
            ember.sample(f"y_{t}", dist.Normal(2.0 * state, 1.0), obs=y[t])

    with pytest.raises(ValueError, match=r"two observations or more, \['y_0\+y_1\+y_2'\] is 1"):
        ember.loo(chain, {}, torch.zeros(3))
