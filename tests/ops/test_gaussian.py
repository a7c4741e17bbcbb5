"""Gaussian factors against dense normal distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from ember.ops.gaussian import (
    AffineNormal,
    Gaussian,
    gaussian_tensordot,
    matrix_and_mvn_to_gaussian,
    mvn_to_gaussian,
    sequential_gaussian_filter_sample,
    sequential_gaussian_tensordot,
)

DOUBLE = torch.float64


def random_gaussian(batch: tuple[int, ...], dim: int) -> Gaussian:
    root = torch.randn(*batch, dim, dim, dtype=DOUBLE)
    precision = root @ root.mT + torch.eye(dim)
    return Gaussian(torch.randn(batch, dtype=DOUBLE), torch.randn(*batch, dim, dtype=DOUBLE), precision)


def random_mvn(batch: tuple[int, ...], dim: int) -> MultivariateNormal:
    g = random_gaussian(batch, dim)
    return MultivariateNormal(g.info_vec, precision_matrix=g.precision)


def assert_same(x: Gaussian, y: Gaussian) -> None:
    assert x.batch_shape == y.batch_shape and x.dim() == y.dim()
    for name in ("log_normalizer", "info_vec", "precision"):
        a, b = (getattr(g.expand(g.batch_shape), name) for g in (x, y))
        torch.testing.assert_close(a, b)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_densities_are_those_of_the_distribution(batch: tuple[int, ...], dim: int) -> None:
    loc, scale = torch.randn(2, *batch, dim, dtype=DOUBLE)
    for mvn in (random_mvn(batch, dim), Independent(Normal(loc, scale.exp()), 1)):
        g, x = mvn_to_gaussian(mvn), mvn.sample((5,))
        torch.testing.assert_close(g.log_density(x), mvn.log_prob(x))
        torch.testing.assert_close(g.event_logsumexp(), torch.zeros_like(g.log_normalizer))


def test_conditions_and_marginals_hang_together() -> None:
    g, x = random_gaussian((4,), 5), torch.randn(4, 5, dtype=DOUBLE)
    for n in range(6):
        left, right = x[..., :n], x[..., n:]
        torch.testing.assert_close(g.condition(right).log_density(left), g.log_density(x))
        torch.testing.assert_close(g.left_condition(left).log_density(right), g.log_density(x))
        torch.testing.assert_close(g.marginalize(left=n).event_logsumexp(), g.event_logsumexp())
        torch.testing.assert_close(g.marginalize(right=n).event_logsumexp(), g.event_logsumexp())
        torch.testing.assert_close(
            g.condition(right).event_logsumexp(), g.marginalize(left=n).log_density(right)
        )
    assert_same(g.marginalize(left=1, right=2), g.marginalize(left=1).marginalize(right=2))


def test_factors_multiply_and_shift() -> None:
    g, h, x = random_gaussian((4,), 3), random_gaussian((), 3), torch.randn(4, 3, dtype=DOUBLE)
    torch.testing.assert_close((g + h).log_density(x), g.log_density(x) + h.log_density(x))
    torch.testing.assert_close((g + 2 - torch.ones(4)).log_density(x), g.log_density(x) + 1)
    for operation in (g.__add__, g.__sub__):
        with pytest.raises(ValueError, match="Unsupported type"):
            operation("1")  # type: ignore[arg-type]


def test_shapes_of_the_batch_change_together() -> None:
    g = random_gaussian((4, 6), 2)
    assert_same(Gaussian.cat([g[..., :2], g[..., 2:]], dim=-1), g)
    assert_same(Gaussian.cat([g[:1, :], g[1:, :]]), g)
    assert_same(g.reshape((24,)).reshape((4, 6)), g)
    assert_same(g[1, :].expand((3, 6))[2, :], g[1, :])
    perm, x = torch.tensor([1, 0]), torch.randn(4, 6, 2, dtype=DOUBLE)
    torch.testing.assert_close(g.event_permute(perm).log_density(x[..., perm]), g.log_density(x))
    padded = g.event_pad(left=1, right=2)
    torch.testing.assert_close(
        padded.log_density(torch.nn.functional.pad(x, (1, 2), value=7.0)), g.log_density(x)
    )


def test_draws_have_the_mean_and_the_covariance() -> None:
    mvn = random_mvn((), 3)
    g = mvn_to_gaussian(mvn)
    torch.testing.assert_close(g.rsample(noise=torch.zeros(3, dtype=DOUBLE)), mvn.loc)
    spread = g.rsample((3,), noise=torch.eye(3, dtype=DOUBLE)) - mvn.loc
    torch.testing.assert_close(spread.mT @ spread, mvn.covariance_matrix)
    assert g.rsample((4, 2)).shape == (4, 2, 3)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize(("x_dim", "y_dim"), [(1, 1), (2, 3), (3, 1)])
def test_a_noisy_affine_function_as_a_factor(x_dim: int, y_dim: int, diagonal: bool) -> None:
    matrix = torch.randn(4, x_dim, y_dim, dtype=DOUBLE)
    scale = torch.rand(y_dim, dtype=DOUBLE) + 0.5
    mvn = (
        Independent(Normal(torch.ones(y_dim, dtype=DOUBLE), scale), 1) if diagonal else random_mvn((), y_dim)
    )
    f = matrix_and_mvn_to_gaussian(matrix, mvn)
    assert isinstance(f, AffineNormal) == diagonal and f.batch_shape == (4,) and f.dim() == x_dim + y_dim
    x, y = torch.randn(4, x_dim, dtype=DOUBLE), torch.randn(4, y_dim, dtype=DOUBLE)
    expected = mvn.log_prob(y - (x.unsqueeze(-2) @ matrix).squeeze(-2))
    torch.testing.assert_close(f.condition(y).log_density(x), expected)
    whole = f.to_gaussian() if isinstance(f, AffineNormal) else f
    torch.testing.assert_close(whole.log_density(torch.cat([x, y], -1)), expected)


def test_an_affine_normal_is_its_gaussian() -> None:
    f = AffineNormal(
        torch.randn(4, 2, 3, dtype=DOUBLE),
        torch.randn(4, 3, dtype=DOUBLE),
        torch.rand(4, 3, dtype=DOUBLE) + 0.1,
    )
    g, x, y = f.to_gaussian(), torch.randn(4, 2, dtype=DOUBLE), torch.randn(4, 3, dtype=DOUBLE)
    assert_same(f.condition(y), g.condition(y))
    assert_same(f.condition(y[:, :1]), g.condition(y[:, :1]))
    assert_same(f.marginalize(right=3), g.marginalize(right=3))
    assert_same(f.marginalize(right=1), g.marginalize(right=1))
    assert_same(f + 1.0, g + 1.0)
    assert_same(f + f, g + g)
    assert_same(f[1:3,].to_gaussian(), g[1:3,])
    assert_same(f.reshape((2, 2)).to_gaussian(), g.reshape((2, 2)))
    assert_same(f[0,].expand((5,)).to_gaussian(), g[0,].expand((5,)))
    assert_same(f.event_permute(torch.arange(4, -1, -1)), g.event_permute(torch.arange(4, -1, -1)))
    known = f.left_condition(x)
    assert isinstance(known, AffineNormal)
    assert_same(known.to_gaussian(), g.left_condition(x))
    torch.testing.assert_close(known.rsample(noise=torch.zeros(4, 3, dtype=DOUBLE)), known.loc)
    assert known.rsample((2,)).shape == (2, 4, 3)
    with pytest.raises(NotImplementedError, match="left_condition"):
        f.rsample()


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_tensordot_is_the_integral_over_what_is_shared(dims: int) -> None:
    x, y = random_gaussian((3,), 3), random_gaussian((3,), 2)
    z = gaussian_tensordot(x, y, dims)
    assert z.dim() == 5 - 2 * dims
    a, c = torch.randn(3, 3 - dims, dtype=DOUBLE), torch.randn(3, 2 - dims, dtype=DOUBLE)
    expected = (x.left_condition(a) + y.condition(c)).event_logsumexp()
    torch.testing.assert_close(z.log_density(torch.cat([a, c], -1)), expected)


def dense(init: Gaussian, trans: Gaussian) -> Gaussian:
    """The product of all factors of a chain over all its states."""
    n, steps = init.dim(), trans.batch_shape[-1]
    joint = init.event_pad(right=n * steps)
    for t in range(steps):
        joint = joint + trans[..., t].event_pad(left=n * t, right=n * (steps - t - 1))
    return joint


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 11])
@pytest.mark.parametrize("n", [1, 2])
def test_chains_are_integrated_and_sampled_like_dense_distributions(steps: int, n: int) -> None:
    init, trans = random_gaussian((3,), n), random_gaussian((3, steps), 2 * n)
    whole = dense(init, trans)
    product = sequential_gaussian_tensordot(trans)
    total = (init.event_pad(right=n) + product).event_logsumexp()
    torch.testing.assert_close(total, whole.event_logsumexp())
    # A draw is affine in the noise: the mean is at zero, and the columns make up the covariance.
    size = n * (steps + 1)
    zero = torch.zeros(3, steps + 1, n, dtype=DOUBLE)
    mean = sequential_gaussian_filter_sample(init, trans, noise=zero).flatten(-2)
    torch.testing.assert_close(mean, torch.linalg.solve(whole.precision, whole.info_vec))
    units = torch.eye(size, dtype=DOUBLE).reshape(size, 1, steps + 1, n).expand(size, 3, steps + 1, n)
    columns: Tensor = sequential_gaussian_filter_sample(init, trans, (size,), noise=units).flatten(-2) - mean
    torch.testing.assert_close(
        torch.einsum("kbi,kbj->bij", columns, columns), torch.linalg.inv(whole.precision)
    )


def test_draws_of_chains_broadcast() -> None:
    init, trans = random_gaussian((), 2), random_gaussian((3, 5), 4)
    assert sequential_gaussian_filter_sample(init, trans, (7,)).shape == (7, 3, 6, 2)
    init, trans = random_gaussian((3,), 2), random_gaussian((5,), 4)
    assert sequential_gaussian_filter_sample(init, trans).shape == (3, 6, 2)
