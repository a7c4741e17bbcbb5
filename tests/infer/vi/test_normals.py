"""Search, Laplace and natural gradients on densities whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from tests.fit.known_answers import banana, gauss, log_gamma, two_modes

from ember.infer.vi.density import Counted, FunctionDensity
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.normal import Normal, StudentT, triangular
from ember.infer.vi.laplace import laplace
from ember.infer.vi.locate import Newton, newton, starting_points
from ember.infer.vi.natural_gradient import Certificate, NaturalGradient, natural_gradient
from ember.infer.vi.quasi_random import NormalPoints


def unit(dim: int) -> Normal:
    return Normal(torch.zeros(dim, dtype=torch.double), torch.eye(dim, dtype=torch.double))


def narrow() -> Normal:
    root = torch.tensor([[1.0, 0.0], [0.9, 0.3]], dtype=torch.double)
    return Normal(torch.tensor([1.0, -2.0], dtype=torch.double), root)


FAMILIES = {
    "normal": narrow(),
    "t": StudentT(narrow(), 3),
    "mixture": Mixture((narrow(), StudentT(unit(2), 8)), (0.3, 0.7)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_draws_from_its_density(name: str) -> None:
    """The density integrates to one by a grid, and the share of draws in a box is the integral over it (error 0.01)."""
    family = FAMILIES[name]
    axis = torch.linspace(-40, 40, 1601, dtype=torch.double)
    grid = torch.cartesian_prod(axis, axis)
    density = family.log_prob(grid).exp() * 0.05**2
    assert float(density.sum()) == pytest.approx(1, abs=0.01)
    inside = (grid - torch.tensor([0.5, -1.0])).abs().amax(-1) < 1.025
    u, log_q = family.sample(1 << 14, seed=3)
    assert torch.allclose(log_q, family.log_prob(u))
    share = ((u - torch.tensor([0.5, -1.0])).abs().amax(-1) < 1.025).double().mean()
    assert float(share) == pytest.approx(float(density[inside].sum()), abs=0.01)
    assert torch.equal(family.sample(100, 5)[0], family.sample(100, 5)[0])


def test_quasi_random_points_beat_random_ones() -> None:
    points = NormalPoints(5, 1)
    blocks = [points.draw(256) for _ in range(4)]
    assert float(torch.cat(blocks).mean(0).abs().max()) < 0.1 / math.sqrt(1024)
    assert not torch.equal(blocks[0], blocks[1])


def test_impossible_rows_are_held_back() -> None:
    p = Counted(FunctionDensity(1, lambda u: u.log().squeeze(-1)), chunk=2)
    u = torch.tensor([[-1.0], [1.0], [0.0]], dtype=torch.double)
    log_p, score = p.score(u)
    assert log_p.tolist() == [-math.inf, 0.0, -math.inf]
    assert score.tolist() == [[0.0], [1.0], [0.0]]
    assert p.value(u).tolist() == [-math.inf, 0.0, -math.inf]
    assert p.evaluations == 6


def test_laplace_is_exact_on_a_normal() -> None:
    known = gauss(10, 1e6)
    found = laplace(Counted(known.density), known.mean)
    assert torch.allclose(found.scale_tril.square().sum(1).sqrt(), known.sd, rtol=1e-4)


def test_newton_finds_both_modes() -> None:
    known = two_modes(10, 10.0)
    settings = Newton()
    *_, located = newton(Counted(known.density), starting_points(10, settings, 0), settings)
    assert located.arrived
    assert {round(float(candidate.normal.loc[0])) for candidate in located.best} == {-5, 5}


def test_newton_in_any_unit() -> None:
    scale = torch.logspace(-6, 6, 5, dtype=torch.double)
    p = Counted(FunctionDensity(5, lambda u: -torch.cosh(u / scale - 1).sum(-1)))
    *_, located = newton(p, torch.zeros(1, 5, dtype=torch.double))
    assert torch.allclose(located.best[0].normal.loc / scale, torch.ones(5, dtype=torch.double), atol=0.02)


def test_newton_needs_a_possible_start() -> None:
    p = Counted(FunctionDensity(1, lambda u: u.squeeze(-1) * math.nan))
    with pytest.raises(ValueError, match="all 8 starting points"):
        next(newton(p, starting_points(1, Newton(), 0)))


def test_newton_leaves_impossible_starts_behind() -> None:
    p = Counted(FunctionDensity(1, lambda u: (u.log() - u).squeeze(-1)))
    *_, located = newton(p, torch.tensor([[-1.0], [0.5]], dtype=torch.double))
    assert [candidate.start for candidate in located.best] == [1]


@pytest.mark.parametrize("dim", [1, 3, 70])
def test_natural_gradients_fit_a_normal_exactly(dim: int) -> None:
    known = gauss(dim, 1e2) if dim > 1 else gauss(1, 1.0)
    start = Normal(known.mean + 5, 3 * torch.eye(dim, dtype=torch.double))
    steps = list(natural_gradient(Counted(known.density), start, NaturalGradient(averaging=20)))
    fitted = steps[-1].normal
    assert torch.allclose(fitted.loc, known.mean, atol=2e-3)
    assert torch.allclose(fitted.scale_tril.square().sum(1).sqrt(), known.sd, rtol=2e-3)
    assert Certificate.of(steps).holds


def test_mean_field_has_the_conditional_scales() -> None:
    """The best diagonal normal for a normal has the precisions' diagonal (Bishop, 2006, section 10.1.2)."""
    known = gauss(6, 1e2)
    precision = -torch.autograd.functional.hessian(
        lambda u: known.density.log_prob(u.unsqueeze(0)).sum(), torch.zeros(6, dtype=torch.double)
    )
    *_, last = natural_gradient(Counted(known.density), unit(6), NaturalGradient(diagonal=True, batch=1024))
    assert torch.allclose(last.normal.scale_tril.diagonal(), precision.diagonal().rsqrt(), rtol=0.02)


def test_fits_do_not_depend_on_the_unit() -> None:
    known, scale = banana(2, 0.3), torch.tensor([1e-3, 1e3], dtype=torch.double)
    scaled = FunctionDensity(2, lambda u: known.density.log_prob(u / scale))
    *_, one = natural_gradient(Counted(known.density), unit(2))
    *_, two = natural_gradient(Counted(scaled), Normal(unit(2).loc, torch.diag(scale)))
    assert torch.allclose(one.normal.loc * scale, two.normal.loc, rtol=1e-6, atol=1e-9)


def test_the_certificate_of_an_unfinished_fit_does_not_hold() -> None:
    known = log_gamma(3, 1.0)
    start = Normal(known.mean + 4, 0.1 * torch.eye(3, dtype=torch.double))
    steps = [step for step, _ in zip(natural_gradient(Counted(known.density), start), range(3), strict=False)]
    assert not Certificate.of(steps).holds


def test_triangular_keeps_the_covariance() -> None:
    root = torch.randn(4, 4, dtype=torch.double)
    lower = triangular(root)
    assert torch.allclose(lower @ lower.T, root @ root.T)
    assert bool((lower.diagonal() > 0).all())
    assert torch.equal(lower, lower.tril())
