"""Posterior predictive checks find what is wrong with a model, and leave what is right alone."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.report import posterior_predictive_check
from ember.report.predictive_check import Grid


def poisson(counts: Tensor) -> None:
    rate = ember.sample("rate", dist.Gamma(1.0, 0.1))
    with ember.plate("rows", len(counts)):
        ember.sample("counts", dist.Poisson(rate), obs=counts)


def rates(counts: Tensor, number: int = 400) -> dict[str, Tensor]:
    return {"rate": dist.Gamma(1.0 + counts.sum(), 0.1 + len(counts)).sample((number,))}


def p_values(figure: Figure) -> dict[str, float]:
    found = {}
    for axes in figure.axes:
        name, _, p = axes.get_title().partition(": p = ")
        if p:
            found[name] = float(p)
    return found


def test_overdispersed_counts_have_a_small_p_for_the_sd() -> None:
    torch.manual_seed(0)
    counts = dist.GammaPoisson(2.0, 0.5).sample((200,))
    figure = posterior_predictive_check(poisson, rates(counts), counts)
    found = p_values(figure)
    assert found["sd"] < 0.01
    assert 0.3 < found["mean"] < 0.7
    figure.savefig(io.BytesIO())


def test_data_of_the_model_have_no_small_p() -> None:
    torch.manual_seed(0)
    counts = dist.Poisson(4.0).sample((200,))
    found = p_values(posterior_predictive_check(poisson, rates(counts, 600), counts))
    assert list(found) == ["mean", "sd", "smallest", "largest"]
    assert all(0.05 < p < 0.95 for p in found.values()), found


def test_fit_with_events_masks_and_own_statistics() -> None:
    torch.manual_seed(0)
    y = torch.randn(30, 2)
    y[-1] = 50.0
    here = torch.arange(30) < 29

    def normal(y: Tensor) -> None:
        loc = ember.sample("loc", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("rows", 30), poutine.mask(mask=here):
            ember.sample("y", dist.Normal(loc, 1.0).to_event(1), obs=y)

    fit = ember.fit(normal, y, seed=0, draws=200, progress=False)
    figure = posterior_predictive_check(fit, statistics={"median": lambda x: x.median()}, title="two")
    assert 0.05 < p_values(figure)["median"] < 0.95
    # The hidden row is not among the data.
    assert max(figure.axes[0].get_xlim()) < 10.0


def test_two_values_and_discrete_sites_that_are_summed_out() -> None:
    torch.manual_seed(0)
    y = dist.Bernoulli(0.3).sample((50,))

    def mixed(y: Tensor) -> None:
        with ember.plate("rows", len(y)):
            z = ember.sample("z", dist.Bernoulli(0.5))
            ember.sample("y", dist.Bernoulli(0.1 + 0.4 * z), obs=y)

    found = p_values(posterior_predictive_check(mixed, {}, y))
    assert list(found) == ["share of ones"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"site": "c"}, r"\['counts'\] is meant; got 'c'"),
        ({"statistics": {}}, r"one to four functions by name, got \[\]"),
    ],
)
def test_says_what_is_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        posterior_predictive_check(poisson, {"rate": torch.ones(5)}, torch.ones(4), **options)


@pytest.mark.parametrize(
    ("data", "is_discrete"),
    [
        (torch.tensor([0.0, 1.0, 1.0]), True),
        (torch.tensor([5.0, 5.0]), True),
        (torch.arange(500.0), True),
        (torch.tensor([-3.0, 0.0, 2.5]), False),
        (torch.full((4,), 7.0), False),
        (torch.tensor([1e6, 1e6 + 1]), False),
    ],
)
def test_all_data_lie_in_the_grid(data: Tensor, is_discrete: bool) -> None:
    grid = Grid.of(data, is_discrete)
    width = 1.0 if grid.is_discrete else float(grid.edges[1] - grid.edges[0])
    assert float(grid.shares(data).sum()) * width == pytest.approx(1.0, rel=1e-3)
    assert float(grid.edges[0]) <= float(data.min()) <= float(data.max()) <= float(grid.edges[-1])
