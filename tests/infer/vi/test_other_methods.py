"""Quasi-Newton paths, batch-and-match, DADVI, low-rank normals and averages, where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from tests.fit.known_answers import gauss, linear_regression, log_gamma, randn

from ember.infer.vi.averaging import average
from ember.infer.vi.batch_and_match import BatchAndMatch, batch_and_match
from ember.infer.vi.dadvi import Dadvi, dadvi
from ember.infer.vi.density import Counted, FunctionDensity
from ember.infer.vi.families.low_rank import LowRankNormal
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.lbfgs import Lbfgs, lbfgs
from ember.infer.vi.low_rank import LowRank, low_rank
from ember.infer.vi.pathfinder import inverse_hessian_normal, pathfinder


def unit(dim: int) -> Normal:
    return Normal(torch.zeros(dim, dtype=torch.double), torch.eye(dim, dtype=torch.double))


def test_the_two_loops_are_the_compact_form() -> None:
    known = linear_regression(40, 1e3)
    *_, ascent = lbfgs(Counted(known.density), randn(3, 40, seed=1), Lbfgs(iterations=9))
    normal = inverse_hessian_normal(ascent, 1)
    assert normal is not None
    root = normal.unwhiten(torch.eye(40, dtype=torch.double)) - normal.loc
    vector = randn(3, 40, seed=2)
    assert torch.allclose(vector[1] @ (root.mT @ root), ascent.pairs.inverse_times(vector)[1], rtol=1e-6)


def test_lbfgs_arrives_and_leaves_impossible_starts() -> None:
    known = log_gamma(20, 1.0)
    starts = torch.stack([torch.zeros(20), torch.full((20,), 800.0)]).double()  # exp(800) is infinite
    *_, ascent = lbfgs(Counted(known.density), starts)
    assert bool(ascent.arrived.all())
    assert float(ascent.u[0].abs().max()) < 1e-3
    assert torch.equal(ascent.u[1], starts[1])


def test_pathfinder_has_the_moments_of_a_normal() -> None:
    known = gauss(10, 1e4)
    *_, paths = pathfinder(Counted(known.density), randn(4, 10, seed=0))
    normal = paths[0].normal
    assert float(((normal.loc - known.mean) / known.sd).abs().max()) < 0.01
    assert float((normal.variance.sqrt() / known.sd).log().abs().max()) < 0.1


def test_pathfinder_needs_a_possible_start() -> None:
    p = Counted(FunctionDensity(1, lambda u: u.squeeze(-1) * math.nan))
    with pytest.raises(ValueError, match="all 2 starting points"):
        list(pathfinder(p, torch.zeros(2, 1, dtype=torch.double)))


def test_a_low_rank_normal_is_its_covariance() -> None:
    scale, factor = randn(6, seed=1).exp(), randn(6, 2, seed=2)
    q = LowRankNormal.of(randn(6, seed=3), scale, factor)
    cov = scale.unsqueeze(-1) * (torch.eye(6, dtype=torch.double) + factor @ factor.T) * scale
    whole = torch.distributions.MultivariateNormal(q.loc, cov)
    u, log_q = q.sample(50, seed=0)
    assert torch.allclose(log_q, whole.log_prob(u))
    assert torch.allclose(q.log_prob(u), log_q)
    assert torch.allclose(q.variance, cov.diagonal())
    assert torch.allclose(q.unwhiten(q.whiten(u)), u)


def test_low_rank_fits_a_factor_model() -> None:
    """300 dims, two directions, from Pathfinder's start: standard deviations to 10 %, means to 0.1 SD."""
    dim = 300
    factor, scale, loc = randn(dim, 2, seed=5), randn(dim, seed=6).exp(), randn(dim, seed=7)
    truth = LowRankNormal.of(loc, scale, factor)
    p = Counted(FunctionDensity(dim, truth.log_prob))
    *_, paths = pathfinder(p, torch.zeros(1, dim, dtype=torch.double))
    *_, last = low_rank(p, paths[0].normal, LowRank(rank=4, steps=800, rate=0.03))
    sd = truth.variance.sqrt()
    assert float(((last.normal.loc - loc) / sd).abs().max()) < 0.1
    assert float((last.normal.variance.sqrt() / sd).log().abs().max()) < 0.1


@pytest.mark.parametrize("dim", [2, 10])
def test_batch_and_match_fits_a_normal_exactly(dim: int) -> None:
    known = gauss(dim, 1e2)
    *_, last = batch_and_match(Counted(known.density), unit(dim), BatchAndMatch(steps=100))
    assert torch.allclose(last.loc, known.mean, atol=1e-3)
    assert torch.allclose(last.scale_tril.square().sum(1).sqrt(), known.sd, rtol=1e-3)


def test_linear_response_is_exact_on_a_normal() -> None:
    """The scales of mean field are those of the precision; the response gives the covariance itself."""
    known = gauss(5, 1e2)
    found = dadvi(Counted(known.density), torch.zeros(5, dtype=torch.double), Dadvi())
    assert found.arrived
    assert found.cov is not None
    assert torch.allclose(found.loc, known.mean, atol=1e-4)
    assert torch.allclose(found.cov.diagonal().sqrt(), known.sd, rtol=0.02)
    assert bool((found.scale < found.cov.diagonal().sqrt()).all())
    assert dadvi(Counted(known.density), found.loc, Dadvi(response=False)).cov is None


def test_dadvi_refuses_an_impossible_start() -> None:
    p = Counted(FunctionDensity(1, lambda u: (u.log() - u).squeeze(-1)))
    with pytest.raises(ValueError, match="impossible"):
        dadvi(p, torch.zeros(1, dtype=torch.double), Dadvi())


def test_an_average_leaves_the_approach_out() -> None:
    approach = torch.linspace(20, 0, 2000, dtype=torch.double).unsqueeze(-1)
    iterates = torch.cat([approach, torch.zeros(6000, 1)]) + randn(8000, 1, seed=1)
    found = average(iterates)
    assert found.start >= 1600
    assert float(found.mean.abs()) < 4 * float(found.mcse) + 0.1
    assert float(found.r_hat) < 1.05
    moving = average(torch.linspace(0, 1, 1000, dtype=torch.double).unsqueeze(-1))
    assert float(moving.r_hat) > 1.5
    with pytest.raises(ValueError, match="at least 100"):
        average(torch.zeros(50, 1))
