"""Distributions of flows: against SciPy, by moments, in their limits."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from scipy import stats

import ember.distributions as dist
from ember.contrib.epidemiology.distributions import (
    beta_binomial_dist,
    binomial_dist,
    infection_dist,
    negative_binomial_dist,
    poisson_dist,
    set_approx_log_prob_tol,
    set_approx_sample_thresh,
    set_relaxed_distributions,
)

COUNTS = torch.arange(21.0, dtype=torch.float64)
P = torch.tensor(0.3, dtype=torch.float64)


def masses(fn: Any) -> list[float]:
    return fn.log_prob(COUNTS).exp().tolist()  # type: ignore[no-any-return]


def test_without_overdispersion_counts_are_binomial() -> None:
    assert masses(binomial_dist(20, P)) == pytest.approx(stats.binom(20, 0.3).pmf(COUNTS))


@pytest.mark.parametrize("overdispersion", [0.1, 0.5, 1.5, torch.tensor(0.5, dtype=torch.float64)])
def test_overdispersed_counts_are_beta_binomial(overdispersion: Any) -> None:
    total = 1 / (0.3 * 0.7 * float(overdispersion) ** 2) - 1
    known = stats.betabinom(20, 0.3 * total, 0.7 * total).pmf(COUNTS)
    assert masses(binomial_dist(20, P, overdispersion=overdispersion)) == pytest.approx(known, rel=1e-4)


def test_the_share_of_many_trials_is_logit_normal_in_its_scale() -> None:
    many = binomial_dist(torch.tensor(1e6, dtype=torch.float64), P, overdispersion=0.2)
    assert (many.variance.sqrt() / many.mean).item() == pytest.approx(0.7 * 0.2, rel=1e-3)


def test_beta_binomial_counts() -> None:
    a, b = torch.tensor(2.0, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
    assert masses(beta_binomial_dist(a, b, 20)) == pytest.approx(stats.betabinom(20, 2, 3).pmf(COUNTS))
    # 1 / c = 1 / c1 + 1 / c2, with c2 as in binomial_dist.
    c = 1 / (1 / 5 + 1 / (1 / (0.4 * 0.6 * 0.3**2) - 1))
    known = stats.betabinom(20, 0.4 * c, 0.6 * c).pmf(COUNTS)
    assert masses(beta_binomial_dist(a, b, 20, overdispersion=0.3)) == pytest.approx(known, rel=1e-4)


def test_infections_in_a_finite_population() -> None:
    fn = infection_dist(
        individual_rate=torch.tensor(1.5, dtype=torch.float64),
        num_infectious=4.0,
        num_susceptible=20,
        population=100.0,
    )
    assert masses(fn) == pytest.approx(stats.binom(20, 1 - (1 - 0.015) ** 4).pmf(COUNTS))


def test_superspreaders_in_a_finite_population() -> None:
    fn = infection_dist(
        individual_rate=torch.tensor(1.5, dtype=torch.float64),
        num_infectious=4.0,
        num_susceptible=20,
        population=100.0,
        concentration=0.5,
    )
    p = 1 - (1 - 0.015) ** 4
    assert masses(fn) == pytest.approx(stats.betabinom(20, 2.0, 2.0 * (1 / p - 1)).pmf(COUNTS))


def test_infections_in_an_infinite_population() -> None:
    poisson = infection_dist(individual_rate=torch.tensor(1.5), num_infectious=4.0)
    assert isinstance(poisson, dist.Poisson) and poisson.rate == 6.0
    negative = infection_dist(individual_rate=torch.tensor(1.5), num_infectious=4.0, concentration=0.5)
    assert isinstance(negative, dist.NegativeBinomial)
    assert negative.mean.item() == pytest.approx(6.0)  # as many as without superspreaders
    many = infection_dist(individual_rate=1.5, num_infectious=4.0, num_susceptible=10**7, population=1e7)
    assert many.mean.item() == pytest.approx(6.0, rel=1e-3)


def test_few_infections_in_a_large_population() -> None:
    one = infection_dist(individual_rate=0.2, num_infectious=1, num_susceptible=10**8 - 1, population=10**8)
    assert one.mean.item() == pytest.approx(0.2, rel=1e-3)
    none = infection_dist(individual_rate=0.2, num_infectious=0, num_susceptible=10**8, population=10**8)
    assert none.mean.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("overdispersion", [0.0, 0.4])
def test_relaxed_counts_have_the_same_moments(overdispersion: float) -> None:
    exact = binomial_dist(50, P, overdispersion=overdispersion)
    with set_relaxed_distributions():
        relaxed = binomial_dist(50, P, overdispersion=overdispersion)
        with set_relaxed_distributions(False):
            assert isinstance(binomial_dist(50, P), dist.ExtendedBinomial)
        few = binomial_dist(torch.tensor(-0.3), 0.5)  # counts may be any real numbers
    assert isinstance(relaxed, dist.Normal)
    assert relaxed.mean.item() == pytest.approx(exact.mean.item())
    assert relaxed.variance.item() == pytest.approx(exact.variance.item(), rel=1e-6)
    assert few.variance.item() == pytest.approx(0.1)
    assert isinstance(binomial_dist(50, P), dist.ExtendedBinomial)


def test_other_threads_are_not_relaxed() -> None:
    found = []
    with set_relaxed_distributions():
        thread = threading.Thread(target=lambda: found.append(binomial_dist(3, 0.5)))
        thread.start()
        thread.join()
    assert isinstance(found[0], dist.ExtendedBinomial)


def test_approximations_end_with_an_error_too() -> None:
    with pytest.raises(KeyError), set_approx_sample_thresh(100), set_approx_log_prob_tol(0.1):
        assert dist.Binomial.approx_sample_thresh == 100
        assert dist.Binomial.approx_log_prob_tol == dist.BetaBinomial.approx_log_prob_tol == 0.1
        raise KeyError
    assert dist.Binomial.approx_sample_thresh == math.inf
    assert dist.Binomial.approx_log_prob_tol == dist.BetaBinomial.approx_log_prob_tol == 0.0


def test_bad_input() -> None:
    for bad in (-0.1, 2.0, torch.tensor([0.1, 2.5])):
        with pytest.raises(ValueError, match="Expected overdispersion"):
            binomial_dist(3, 0.5, overdispersion=bad)
    for make in (lambda: poisson_dist(1.0, overdispersion=0.1), lambda: _negative(overdispersion=0.1)):
        with pytest.raises(NotImplementedError, match=r"overdispersion 0\.1: give a finite population"):
            make()
    with pytest.raises(AssertionError, match="and not 0"), set_approx_sample_thresh(0):
        pass
    with pytest.raises(AssertionError, match="and not -1"), set_approx_log_prob_tol(-1):
        pass


def _negative(**options: float) -> Any:
    return negative_binomial_dist(2.0, 0.5, **options)
