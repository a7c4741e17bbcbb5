"""Derivatives written by hand, beside autograd; families that bend, on densities of their own kind."""

from __future__ import annotations

import pytest
import torch
from tests.fit.known_answers import banana, log_gamma
from torch import Tensor
from torch.autograd.functional import jacobian

from ember.infer.vi.density import Counted, FunctionDensity
from ember.infer.vi.families.couplings import Couplings
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.families.skewed import SinhArcsinh
from ember.infer.vi.families.warped import Transform, Warped
from ember.infer.vi.path_gradient import PathGradient, path_gradient

DIM = 5


def transform(name: str) -> Transform:
    identity: Transform = SinhArcsinh.identity(DIM)
    if name == "couplings":
        identity = Couplings.identity(SinhArcsinh.identity(DIM), layers=3, width=8)
    return identity.with_parameters(identity.parameters + 0.2 * torch.randn_like(identity.parameters))


def unit(dim: int) -> Normal:
    return Normal(torch.zeros(dim, dtype=torch.double), torch.eye(dim, dtype=torch.double))


@pytest.mark.parametrize("name", ["skewed", "couplings"])
def test_the_way_there_and_back(name: str) -> None:
    bend, e = transform(name), torch.randn(7, DIM, dtype=torch.double)
    bent = bend.forward(e)
    back, log_det = bend.inverse(bent.x)
    assert torch.allclose(back, e)
    assert torch.allclose(log_det, bent.log_det)
    slopes = torch.stack([jacobian(lambda row: bend.forward(row.unsqueeze(0)).x[0], row) for row in e])
    assert torch.allclose(torch.linalg.slogdet(slopes).logabsdet, bent.log_det)


@pytest.mark.parametrize("name", ["skewed", "couplings"])
def test_the_score_is_that_of_autograd(name: str) -> None:
    q = Warped(transform(name), unit(DIM))
    bent = q.transform.forward(torch.randn(7, DIM, dtype=torch.double))
    at = bent.x.detach().requires_grad_()
    (score,) = torch.autograd.grad(q.log_prob(at).sum(), at)
    assert torch.allclose(bent.score(), score)


@pytest.mark.parametrize("name", ["skewed", "couplings"])
def test_the_pullback_is_that_of_autograd(name: str) -> None:
    bend, e, path = transform(name), *torch.randn(2, 7, DIM, dtype=torch.double)
    numbers = bend.parameters.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((bend.with_parameters(numbers).forward(e).x * path).sum(), numbers)
    assert torch.allclose(bend.forward(e).pullback(path), gradient)


@pytest.mark.parametrize("name", ["skewed", "couplings"])
def test_draws_fit_the_density(name: str) -> None:
    """``E_q[N(u) / q(u)] = 1`` for a narrow normal: the density is normalised and belongs to the draws (error 0.01)."""
    q = Warped(transform(name), unit(DIM))
    u, log_q = q.sample(1 << 15, seed=1)
    assert torch.allclose(log_q, q.log_prob(u))
    inner = Normal(u.mean(0), 0.7 * torch.linalg.cholesky(torch.cov(u.mT)))
    assert float((inner.log_prob(u) - log_q).exp().mean()) == pytest.approx(1, abs=0.05)


def test_a_flow_needs_two_coordinates() -> None:
    with pytest.raises(ValueError, match="two coordinates"):
        Couplings.identity(SinhArcsinh.identity(1))


def _gap_of(family: Warped, log_prob: object, elbo_of_the_best: float) -> float:
    assert isinstance(log_prob, FunctionDensity)
    u, log_q = family.sample(1 << 13, seed=9)
    return elbo_of_the_best - float((log_prob(u, grad=False) - log_q).mean())


def test_skewed_coordinates_come_close_to_a_log_gamma() -> None:
    """The log normaliser of a log gamma(1) is 0. A normal is 0.06 a coordinate below; a bend closes nine tenths of that."""
    known = log_gamma(3, 1.0)
    *_, last = path_gradient(
        Counted(known.density), Warped(SinhArcsinh.identity(3), unit(3)), PathGradient(steps=200)
    )
    assert _gap_of(last.family, known.density, 0.0) < 0.02


def test_a_flow_bends_like_a_banana() -> None:
    """log of 2 pi is the normaliser; the best normal is 0.55 below."""
    known = banana(2, 1.0)
    flow = Couplings.identity(SinhArcsinh.identity(2), layers=4, width=16)
    settings = PathGradient(rate=5e-3, steps=250, batch=128)
    *_, last = path_gradient(Counted(known.density), Warped(flow, unit(2)), settings)
    assert _gap_of(last.family, known.density, 1.8378770664093453) < 0.1


def test_impossible_rows_do_not_move_anything() -> None:
    def log_prob(u: Tensor) -> Tensor:
        return torch.where(u[:, 0] > 2, torch.nan, -0.5 * u.square().sum(-1))

    settings = PathGradient(steps=50)
    *_, last = path_gradient(
        Counted(FunctionDensity(1, log_prob)), Warped(SinhArcsinh.identity(1), unit(1)), settings
    )
    assert bool(torch.isfinite(last.family.transform.parameters).all())
