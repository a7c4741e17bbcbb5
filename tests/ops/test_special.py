"""Special functions against scipy and numpy, and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch

from ember.ops.hessian import hessian
from ember.ops.special import (
    get_quad_rule,
    log_beta,
    log_binomial,
    log_I1,
    safe_log,
    sparse_multinomial_likelihood,
)


def test_log_beta_is_approached_from_below() -> None:
    x = torch.logspace(-5, 5, 200, dtype=torch.float64)
    short = log_beta(x, x.unsqueeze(-1)) - log_beta(x, x.unsqueeze(-1), tol=0.02)
    assert short.min() >= 0 and short.max() < 0.02


@pytest.mark.parametrize("tol", [0.0, 1e-6, 0.0084, 0.02, 0.1, 1.0])
def test_log_beta_is_within_its_tolerance(tol: float) -> None:
    x = torch.logspace(-5, 5, 200, dtype=torch.float64)
    actual = log_beta(x, x.unsqueeze(-1), tol=tol)
    expected = torch.from_numpy(scipy.special.betaln(x.numpy(), x.unsqueeze(-1).numpy()))
    assert bool(((actual - expected).abs() < max(tol, 1e-8)).all())


@pytest.mark.parametrize("tol", [0.0, 1e-6, 0.0084, 0.02, 0.1, 1.0])
def test_log_binomial_is_within_its_tolerance(tol: float) -> None:
    k = torch.arange(200.0, dtype=torch.float64)
    n = k + k.unsqueeze(-1)
    expected = -torch.from_numpy(scipy.special.betaln((n - k + 1).numpy(), (k + 1).numpy())) - (n + 1).log()
    assert bool(((log_binomial(n, k, tol=tol) - expected).abs() < max(tol, 1e-8)).all())


def test_tolerances_are_not_negative() -> None:
    for function in (log_beta, log_binomial):
        with pytest.raises(AssertionError):
            function(torch.ones(()), torch.ones(()), tol=-0.1)


@pytest.mark.parametrize("value", [0.1, 1.0, 10.0, 200.0])
def test_log_bessel_functions(value: float) -> None:
    actual = log_I1(5, torch.full((2, 1), value, dtype=torch.float64))
    assert actual.shape == (6, 2, 1)
    expected = np.log(scipy.special.ive(np.arange(6), value)) + value
    np.testing.assert_allclose(actual[:, 0, 0].numpy(), expected, rtol=1e-10)


def test_log_bessel_functions_at_zero_and_of_a_scalar() -> None:
    assert log_I1(2, torch.tensor(0.0)).tolist() == [[0.0], [-torch.inf], [-torch.inf]]


def test_safe_log_has_finite_gradients() -> None:
    x = torch.tensor([0.0, 1e-40, 0.5], requires_grad=True)
    (grad,) = torch.autograd.grad(safe_log(x).sum(), x, create_graph=True)
    assert grad.tolist() == [1 / torch.finfo().eps, 1 / torch.finfo().eps, 2.0]
    assert torch.equal(safe_log(x), x.log())
    (second,) = torch.autograd.grad(grad[2], x)
    assert second.tolist() == [0.0, 0.0, -4.0]
    assert torch.equal(torch.func.vmap(safe_log)(x), x.log())


@pytest.mark.parametrize("n", [1, 2, 7, 32, 101])
def test_quadrature_points_are_those_of_gauss_and_hermite(n: int) -> None:
    points, log_weights = get_quad_rule(n, torch.zeros(0, dtype=torch.float64))
    x, w = np.polynomial.hermite.hermgauss(n)
    np.testing.assert_allclose(points.numpy(), x * np.sqrt(2), atol=1e-12)
    np.testing.assert_allclose(log_weights.numpy(), np.log(w) - 0.5 * np.log(np.pi), rtol=1e-10, atol=1e-10)
    assert get_quad_rule(n, torch.zeros(0))[0].dtype == torch.float32


def test_a_rule_has_points() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        get_quad_rule(0, torch.zeros(0))


def test_sparse_multinomial_likelihood_is_that_of_the_dense_counts() -> None:
    torch.manual_seed(0)
    value = torch.randint(0, 4, (5, 10)).double() * (torch.rand(5, 10) < 0.5)
    logits = torch.randn(5, 10).double().log_softmax(-1)
    expected = sum(
        torch.distributions.Multinomial(int(row.sum()), logits=logit, validate_args=False).log_prob(row)
        for row, logit in zip(value, logits, strict=True)
    )
    there = value.nonzero(as_tuple=True)
    actual = sparse_multinomial_likelihood(value.sum(-1), logits[there], value[there])
    torch.testing.assert_close(actual, expected)


def test_hessian_of_several_tensors() -> None:
    x, y = torch.randn(2, requires_grad=True), torch.randn(2, 2, requires_grad=True)

    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.sin() @ y).pow(3).sum() + x[0]

    blocks = torch.autograd.functional.hessian(f, (x, y))
    expected = torch.cat(
        [
            torch.cat([blocks[0][0].reshape(2, 2), blocks[0][1].reshape(2, 4)], 1),
            torch.cat([blocks[1][0].reshape(4, 2), blocks[1][1].reshape(4, 4)], 1),
        ]
    )
    torch.testing.assert_close(hessian(f(x, y), (x, y)), expected)


def test_hessian_of_what_is_linear_is_zero() -> None:
    x, y = torch.randn(2, requires_grad=True), torch.randn(1, requires_grad=True)
    assert torch.equal(
        hessian(3 * x.sum() + y.pow(2).sum(), (x, y)), torch.diag(torch.tensor([0.0, 0.0, 2.0]))
    )
