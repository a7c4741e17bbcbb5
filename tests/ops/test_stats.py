"""Statistics of draws: against NumPy, brute force and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ember.ops import stats

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_quantile_is_numpys(dim):
    x = torch.randn(7, 5, 6)
    probs = [0.0, 0.1, 0.5, 0.77, 1.0]
    expected = np.moveaxis(np.quantile(x.numpy(), probs, axis=dim), 0, dim)
    assert np.allclose(stats.quantile(x, probs, dim).numpy(), expected)
    assert np.allclose(stats.quantile(x, torch.tensor(probs), dim).numpy(), expected)
    assert np.allclose(stats.quantile(x, 0.3, dim).numpy(), np.quantile(x.numpy(), 0.3, axis=dim))
    assert np.allclose(
        stats.pi(x, 0.8, dim).numpy(), np.moveaxis(np.quantile(x.numpy(), [0.1, 0.9], axis=dim), 0, dim)
    )


def test_quantile_of_infinite_and_whole_numbers():
    assert stats.quantile(torch.tensor([0.0, 1.0, math.inf]), 0.5).item() == 1.0
    assert stats.quantile(torch.tensor([1, 2, 3]), 0.25).item() == 1.5


@settings(max_examples=30, deadline=None)
@given(size=st.integers(2, 12), prob=st.floats(0, 1), seed=st.integers(0, 100))
def test_equal_weights_give_plain_quantiles(size, prob, seed):
    x = torch.randn(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weighed = stats.weighed_quantile(x, [prob], torch.zeros(size, dtype=torch.float64), dim=1)
    assert torch.allclose(weighed, stats.quantile(x, [prob], dim=1))


def test_weighed_quantile_by_hand():
    x = torch.tensor([[10.0, 50.0, 40.0], [20.0, 30.0, 0.0]])
    log_weights = torch.tensor([0.4, 0.5, 0.1]).log()
    result = stats.weighed_quantile(x, torch.tensor([0.2, 0.8]), log_weights, -1)
    assert torch.allclose(result, torch.tensor([[40.4, 47.6], [9.0, 26.4]]))
    shifted = stats.weighed_quantile(x.T, [0.2, 0.8], log_weights + 7, 0)
    assert torch.allclose(shifted, result.T)
    assert stats.weighed_quantile(torch.tensor([3.0]), [0.2, 0.9], torch.zeros(1)).tolist() == [3.0, 3.0]


def test_hpdi_is_the_narrowest_window():
    x = torch.randn(2, 41).exp()
    low, high = stats.hpdi(x, 0.5, dim=1).unbind(1)
    for row, a, b in zip(x, low, high, strict=True):
        ordered = row.sort().values
        widths = [ordered[i + 20] - ordered[i] for i in range(21)]
        best = int(np.argmin(widths))
        assert (a, b) == (ordered[best], ordered[best + 20])


def test_resample():
    x = torch.arange(10.0).reshape(2, 5)
    torch.manual_seed(0)
    picked = stats.resample(x, 5, dim=1)
    assert torch.equal(picked.sort(1).values, x)
    assert stats.resample(x, 20, dim=1, replacement=True).shape == (2, 20)


@pytest.mark.parametrize(("shape", "dim"), [((30,), 0), ((4, 17), 1), ((17, 4, 2), -3)])
def test_autocorrelation_by_brute_force(shape, dim):
    x = torch.randn(shape).cumsum(dim)
    centred = (x - x.mean(dim, keepdim=True)).movedim(dim, 0)
    size = len(centred)
    covariance = torch.stack([(centred[: size - k] * centred[k:]).mean(0) for k in range(size)])
    assert torch.allclose(stats.autocovariance(x, dim), covariance.movedim(0, dim))
    assert torch.allclose(stats.autocorrelation(x, dim), (covariance / covariance[0]).movedim(0, dim))


def test_autocorrelation_of_a_constant_is_one():
    assert torch.equal(stats.autocorrelation(torch.ones(5, 2)), torch.ones(5, 2))


def test_gelman_rubin():
    x = torch.randn(2, 10)
    mean, var = x.mean(1), x.var(1)
    estimate = 9 / 10 * var.mean() + mean.var()
    expected = (estimate / var.mean()).sqrt()
    assert torch.allclose(stats.gelman_rubin(x), expected)
    assert torch.allclose(stats.gelman_rubin(x.T, chain_dim=1, sample_dim=0), expected)
    batch = torch.stack([x, x + torch.tensor([[0.0], [9.0]])], dim=1)
    rhat = stats.gelman_rubin(batch, chain_dim=0, sample_dim=2)
    assert rhat.shape == (2,) and torch.allclose(rhat[0], expected) and rhat[1] > 3
    halves = torch.cat([x[:, :5], x[:, 5:]])
    assert torch.allclose(stats.split_gelman_rubin(x), stats.gelman_rubin(halves))
    assert stats.split_gelman_rubin(torch.arange(20.0)[None]) > 2
    with pytest.raises(AssertionError, match="two chains"):
        stats.gelman_rubin(x[:1])


def test_effective_sample_size():
    torch.manual_seed(0)
    draws = torch.randn(4, 1000)
    independent = stats.effective_sample_size(draws)
    assert 0.8 < independent / 4000 < 1.2
    # An autoregressive chain with coefficient r is worth (1 - r) / (1 + r) as many.
    chain, r = torch.zeros(4, 8000), 0.6
    noise = torch.randn(4, 8000)
    for i in range(1, 8000):
        chain[:, i] = r * chain[:, i - 1] + (1 - r**2) ** 0.5 * noise[:, i]
    expected = 32000 * (1 - r) / (1 + r)
    assert 0.85 < stats.effective_sample_size(chain) / expected < 1.15
    assert stats.effective_sample_size(torch.randn(3, 50, 2), sample_dim=1).shape == (2,)
    assert torch.allclose(
        stats.effective_sample_size(chain[:, :200].T, chain_dim=1, sample_dim=0),
        stats.effective_sample_size(chain[:, :200]),
    )


def test_waic_of_weighed_draws():
    likelihood = torch.randn(6, 4)
    value, num_params = stats.waic(likelihood)
    pointwise = torch.logsumexp(likelihood, 0) - math.log(6) - likelihood.var(0)
    assert torch.allclose(value, -2 * pointwise.sum())
    assert torch.allclose(num_params, likelihood.var(0).sum())
    # A draw of weight two counts like two draws.
    weights = torch.tensor([2.0, 1, 1, 1, 1, 1]).log()
    twice = torch.cat([likelihood[:1], likelihood])
    both = stats.waic(likelihood, weights, pointwise=True), stats.waic(twice, pointwise=True)
    densities = [v / -2 + p for v, p in both]
    assert torch.allclose(*densities)
    moved = stats.waic(likelihood.T, weights, pointwise=True, dim=-1)
    assert torch.allclose(moved[0], both[0][0])


@pytest.mark.parametrize("k", [-0.3, 0.2, 0.8])
def test_generalized_pareto_fit(k):
    x = torch.tensor(sp.genpareto.rvs(k, scale=2.0, size=20000, random_state=1))
    shape, scale = stats.fit_generalized_pareto(x)
    # The asymptotic standard error of the shape is (1 + k) / sqrt(n).
    assert abs(shape - k) < 5 * (1 + k) / 20000**0.5
    assert abs(scale - 2.0) < 0.2
    with pytest.raises(ValueError, match="1-dimensional"):
        stats.fit_generalized_pareto(x.reshape(2, -1))


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_crps(size, shape):
    pred, truth = torch.randn(size, *shape), torch.randn(shape)
    expected = (pred - truth).abs().mean(0) - (pred - pred.unsqueeze(1)).abs().mean([0, 1]) / 2
    assert torch.allclose(stats.crps_empirical(pred, truth), expected)
    with pytest.raises(ValueError, match="one extra sample dim"):
        stats.crps_empirical(torch.randn(size, 7), truth if shape else torch.randn(3))


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
def test_energy_score(batch_size):
    pred, truth = torch.randn(5, 9, 3), torch.randn(5, 3)
    distance = (pred - truth[:, None]).norm(dim=-1).mean(-1)
    spread = (pred[:, :, None] - pred[:, None]).norm(dim=-1).mean((-1, -2))
    score = stats.energy_score_empirical(pred, truth, pred_batch_size=batch_size)
    assert torch.allclose(score, distance - spread / 2)
    many = stats.energy_score_empirical(pred, truth[:, None].expand(5, 2, 3), pred_batch_size=batch_size)
    assert torch.allclose(many, score[:, None].expand(5, 2))
    with pytest.raises(ValueError, match="at most one extra dim"):
        stats.energy_score_empirical(pred, truth[0])


def test_energy_score_in_one_dimension_is_the_crps():
    pred, truth = torch.randn(4, 9), torch.randn(4)
    score = stats.energy_score_empirical(pred.unsqueeze(-1), truth.unsqueeze(-1))
    assert torch.allclose(score, stats.crps_empirical(pred.T, truth))
