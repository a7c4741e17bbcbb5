"""Pareto-smoothed weights, beside numbers that ArviZ 0.23 gives for the same weights and beside tails that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ember.ops.pareto import fit_generalized_pareto, fit_generalized_paretos
from ember.ops.psis import k_hat_limit, k_hats, k_hats_of_moments, psis, tail_size, weighted_moments

I = (torch.arange(4000, dtype=torch.double) * 0.6180339887498949) % 1  # noqa: E741
# Log weights, k-hat and effective draws by ArviZ, and its three largest smoothed log weights.
ARVIZ = [
    (-0.6 * torch.log1p(-I), 0.5833231351447293, 842.2908151764324, [-4.80118416, -4.50240651, -3.99156915]),
    (3 * torch.sin(12.9898 * I * 78), -1.748050654052813, 1421.3287776395837, [-6.88374094] * 3),
    (-0.2 * torch.log1p(-I).square() + 4 * I, -1.6876331412876957, 2728.478717973757, [-7.53100378] * 3),
]


@pytest.mark.parametrize(("log_w", "k_hat", "ess", "largest"), ARVIZ)
def test_as_arviz(log_w: Tensor, k_hat: float, ess: float, largest: list[float]) -> None:
    smoothed = psis(log_w)
    assert smoothed.k_hat == pytest.approx(k_hat, abs=1e-9)
    assert smoothed.ess == pytest.approx(ess, rel=1e-6)
    assert smoothed.log_weights.sort().values[-3:].tolist() == pytest.approx(largest, abs=1e-6)
    assert float(smoothed.log_weights.exp().sum()) == pytest.approx(1)
    assert float(k_hats(log_w)) == smoothed.k_hat


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_pareto_weights_have_their_shape(shape: float) -> None:
    """Ten samples of 40,000 weights: the error of a mean of ten estimates from 600 is about (1 + k) / 77."""
    u = torch.rand(40000, 10, dtype=torch.double)
    assert float(k_hats(-shape * u.log()).mean()) == pytest.approx(shape, abs=0.06)


def test_equal_weights_have_no_tail() -> None:
    smoothed = psis(torch.full((1000,), 3.0))
    assert smoothed.k_hat == -math.inf
    assert smoothed.ess == pytest.approx(1000)


def test_weights_within_a_factor_of_two_have_no_tail() -> None:
    """Two plateaus, nearly flat: differences that range over many powers of ten look like a heavy tail, and are none."""
    log_w = torch.cat([torch.full((9000,), -3.0), torch.logspace(-9, -2, 1000)]).double()
    assert psis(log_w).k_hat < 0.05


def test_one_weight_that_dominates() -> None:
    log_w = torch.zeros(1000, dtype=torch.double)
    log_w[17] = 40.0
    assert psis(log_w).k_hat == math.inf


def test_impossible_draws_weigh_nothing() -> None:
    log_w = torch.where(I < 0.3, -torch.inf, I)
    smoothed = psis(log_w)
    assert bool((smoothed.log_weights[I < 0.3] == -torch.inf).all())
    assert smoothed.ess < 0.7 * len(I) + 1


def test_the_square_of_a_t_is_heavier_than_its_weight() -> None:
    """Weights of a t5 by a normal's draws are bounded by no moment; of a normal by a t3 they are, its squares too."""
    x = (
        torch.randn(20000, dtype=torch.double)
        / torch.randn(20000, 3, dtype=torch.double).square().mean(-1).sqrt()
    )
    log_w = -0.5 * x.square() + 2 * torch.log1p(x.square() / 3)
    assert float(k_hats_of_moments(log_w, x.unsqueeze(-1), 2)) < 0.3
    light = torch.randn(20000, dtype=torch.double)
    log_w = -3 * torch.log1p(light.square() / 5) + 0.5 * light.square()
    assert float(k_hats_of_moments(log_w, light.unsqueeze(-1), 2)) > psis(log_w).k_hat + 0.1


def test_moments_and_their_errors() -> None:
    """Over 200 repetitions, the Monte Carlo errors are those that are claimed, to a fifth."""
    x = 1.5 * torch.randn(200, 2000, dtype=torch.double)
    found = [
        weighted_moments(row.unsqueeze(-1), psis(-0.5 * row.square() * (1 - 1 / 2.25)).log_weights)
        for row in x
    ]
    means, sds = torch.stack([m.mean for m in found]), torch.stack([m.sd for m in found])
    assert float(means.mean()) == pytest.approx(0, abs=0.01)
    assert float(sds.mean()) == pytest.approx(1, abs=0.01)
    assert float(means.std() / torch.stack([m.mcse_mean for m in found]).mean()) == pytest.approx(1, abs=0.2)
    assert float(sds.std() / torch.stack([m.mcse_sd for m in found]).mean()) == pytest.approx(1, abs=0.2)


def test_limits() -> None:
    assert tail_size(1000) == 95
    assert tail_size(50) == 10
    assert k_hat_limit(100) == 0.5
    assert k_hat_limit(10**6) == 0.7


@pytest.mark.parametrize(
    ("log_w", "message"),
    [
        (torch.zeros(3, 2), "shape"),
        (torch.zeros(3), "at least 5"),
        (torch.tensor([0.0, math.nan, 0.0, 0.0, 0.0]), "NaN"),
        (torch.tensor([0.0, math.inf, 0.0, 0.0, 0.0]), "plus infinity"),
        (torch.full((9,), -math.inf), "no positive weight"),
    ],
)
def test_what_is_refused(log_w: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        psis(log_w)


def test_many_fits_are_as_single_ones() -> None:
    x = torch.rand(4, 100, dtype=torch.double).sort().values
    k, sigma = fit_generalized_paretos(x)
    for row, found in zip(x, zip(k.tolist(), sigma.tolist(), strict=True), strict=True):
        assert fit_generalized_pareto(row) == pytest.approx(found)


def test_a_heap_of_equal_weights_below_the_tail_is_not_taken_for_it() -> None:
    """Weights of a normal proposal for a beta posterior: their log is flat at a place where many draws lie."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(8192, dtype=torch.double, generator=generator)
    heap = -0.05 * (z.abs() - 1.6).square().clamp(max=1.0)
    tail = torch.where(z > 2.3, 0.8 * (z - 2.3), heap)
    smoothed = psis(tail)
    assert smoothed.ess > 4096
    assert smoothed.k_hat < 1.0
