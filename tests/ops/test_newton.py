"""Newton steps and the small matrices that they need."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.ops.linalg import determinant_3d, eig_3d, ignore_torch_deprecation_warnings, inv3d, rinverse
from ember.ops.newton import newton_step, newton_step_1d, newton_step_2d, newton_step_3d


def symmetric(n: int, dim: int) -> Tensor:
    m = torch.randn(n, dim, dim, dtype=torch.float64)
    return m + m.mT


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("sym", [False, True])
def test_inverses(dim: int, sym: bool) -> None:
    torch.manual_seed(0)
    m = symmetric(50, dim) if sym else torch.randn(5, 10, dim, dim, dtype=torch.float64)
    inverse = rinverse(m, sym=sym)
    torch.testing.assert_close(inverse, torch.linalg.inv(m))
    if sym and dim <= 3:
        assert torch.equal(inverse, inverse.mT)


def test_determinants_and_eigenvalues() -> None:
    torch.manual_seed(0)
    m = symmetric(100, 3)
    torch.testing.assert_close(determinant_3d(m), torch.linalg.det(m))
    torch.testing.assert_close(inv3d(m), torch.linalg.inv(m))
    torch.testing.assert_close(torch.stack(eig_3d(m), -1), torch.linalg.eigvalsh(m))


@pytest.mark.parametrize(
    "values", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0), (1.0, 2.0, 2.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 1.0)]
)
def test_eigenvalues_that_are_equal(values: tuple[float, float, float]) -> None:
    m = torch.diag(torch.tensor(values)).requires_grad_()
    actual = torch.stack(eig_3d(m))
    torch.testing.assert_close(actual, torch.tensor(values), atol=1e-6, rtol=1e-6)
    (grad,) = torch.autograd.grad(actual.sum(), m)
    torch.testing.assert_close(grad, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_the_minimum_of_a_quadratic_is_one_step_away(dim: int, batch_shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(*batch_shape, dim, dtype=torch.float64, requires_grad=True)
    target = torch.randn(*batch_shape, dim, dtype=torch.float64, requires_grad=True)
    root = torch.randn(*batch_shape, dim, dim, dtype=torch.float64)
    precision = root @ root.mT + torch.eye(dim)
    away = (x - target).unsqueeze(-1)
    mode, cov = newton_step((away.mT @ precision @ away).sum() / 2, x)
    torch.testing.assert_close(mode, target)
    torch.testing.assert_close(cov, torch.linalg.inv(precision))
    (grad,) = torch.autograd.grad(mode.sum(), target)
    torch.testing.assert_close(grad, torch.ones_like(target))


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("trust_radius", [0.1, 1.0, 10.0])
def test_steps_stay_in_the_trust_region_and_go_downhill(trust_radius: float, dim: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(100, dim, dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        return (x.pow(4) - 3 * x.pow(2)).sum(-1) + x.prod(-1).sin()

    moved, cov = newton_step(loss(x).sum(), x, trust_radius=trust_radius)
    assert bool(((moved - x).norm(dim=-1) <= trust_radius * (1 + 1e-6)).all())
    assert bool((torch.linalg.eigvalsh(cov) > 0).all())
    (slope,) = torch.autograd.grad(loss(x).sum(), x)
    assert bool((((moved - x) * slope).sum(-1) <= 1e-12).all())


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_few_steps_reach_the_minimum_and_its_derivative(dim: int) -> None:
    target = torch.full((10, dim), 0.3, dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        return ((x - target).cosh() + 0.1 * (x - target).sum(-1, keepdim=True) ** 2).sum()

    x = torch.zeros(10, dim, dtype=torch.float64)
    for _ in range(10):
        x = x.detach().requires_grad_()
        x, _ = newton_step(loss(x), x, trust_radius=0.5)
    torch.testing.assert_close(x, target, atol=1e-6, rtol=0)
    (grad,) = torch.autograd.grad(x[0, 0], target)
    expected = torch.zeros_like(target)
    expected[0, 0] = 1
    torch.testing.assert_close(grad, expected, atol=1e-5, rtol=0)


def test_a_linear_loss_of_one_dim_moves_to_the_edge_of_the_region() -> None:
    x = torch.zeros(2, 1, requires_grad=True)
    moved, _ = newton_step(x.sum(), x, trust_radius=0.5)
    assert moved.tolist() == [[-0.5], [-0.5]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    x = torch.randn(5, 2, requires_grad=True)
    with pytest.raises(ValueError, match="Expected loss to be a scalar"):
        newton_step(x.sum(-1), x)
    with pytest.raises(ValueError, match="Expected x to have at least one dimension"):
        newton_step(x.sum(), torch.tensor(1.0))
    for step, size in ((newton_step_1d, 1), (newton_step_3d, 3)):
        with pytest.raises(ValueError, match=f"Expected x to have rightmost size {size}"):
            step(x.sum(), x)
    with pytest.raises(ValueError, match="rightmost size 2"):
        newton_step_2d(x.sum(), x[:, :1])


def test_torch_can_be_told_to_be_quiet() -> None:
    import warnings

    with ignore_torch_deprecation_warnings():
        warnings.warn("torch.triangular_solve is deprecated in favor of something")
