"""Families that Pyro lacks: densities by definition, quadrature or SciPy, draws by their moments, errors by their words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats as sp
import torch

import ember
import ember.distributions as dist
from ember.distributions import biject_to, constraints
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

D = torch.float64
ROW = (torch.diag(torch.ones(3), 1) + torch.diag(torch.ones(3), -1)).double()


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=D)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 0.5), (3.0, 4.0), (20.0, 21.0), (-21.0, -20.0), (8.0, math.inf)]
)
def test_truncated_normal_is_scipys_in_all_tails(low: float, high: float) -> None:
    ours = dist.TruncatedNormal(t(0.5), t(2.0), low=0.5 + 2 * low, high=0.5 + 2 * high)
    theirs = sp.truncnorm(low, high, 0.5, 2.0)
    x = 0.5 + 2 * (low + 0.3 * (min(high, low + 1) - low))
    assert float(ours.log_prob(t(x))) == pytest.approx(theirs.logpdf(x), rel=1e-10)
    assert float(ours.mean) == pytest.approx(theirs.mean(), rel=1e-6)
    torch.manual_seed(0)
    draws = ours.sample((4000,))
    assert bool(((draws >= 0.5 + 2 * low) & (draws <= 0.5 + 2 * high)).all())
    assert float(draws.mean()) == pytest.approx(theirs.mean(), abs=4 * theirs.std() / math.sqrt(4000))


def test_truncated_distribution_is_the_base_by_its_mass() -> None:
    ours = dist.TruncatedDistribution(dist.Exponential(t(0.5)), high=3.0)
    x = torch.linspace(0.01, 2.99, 5, dtype=D)
    expected = dist.Exponential(t(0.5)).log_prob(x) - math.log(1 - math.exp(-1.5))
    torch.testing.assert_close(ours.log_prob(x), expected)
    assert float(ours.log_prob(t(2.0))) > -math.inf


def test_censored_values_have_the_mass_beyond() -> None:
    base = dist.Normal(t(0.0), t(1.0))
    gauge = dist.CensoredDistribution(base, -1.0, 0.5)
    found = gauge.log_prob(t(-1.0, 0.0, 0.5)).exp()
    expected = t(sp.norm.cdf(-1.0), sp.norm.pdf(0.0), sp.norm.sf(0.5))
    torch.testing.assert_close(found, expected)


def test_censored_gradients_are_finite_at_limits() -> None:
    rate = t(0.7).requires_grad_()
    gauge = dist.CensoredDistribution(dist.Exponential(rate), high=2.0)
    (slope,) = torch.autograd.grad(gauge.log_prob(t(2.0)).sum(), rate)
    assert float(slope) == pytest.approx(-2.0)  # the log of the mass beyond 2 is -2 rate


@pytest.mark.parametrize(
    "base", [dist.Poisson(t(0.8)), dist.NegativeBinomial(t(2.0), t(0.3))], ids=["poisson", "nb"]
)
def test_hurdle_counts_sum_to_one(base: Any) -> None:
    hurdle = dist.HurdleDistribution(base, gate=t(0.25))
    k = torch.arange(200, dtype=D).unsqueeze(-1)
    p = hurdle.log_prob(k).exp()
    assert float(p.sum()) == pytest.approx(1.0)
    assert float(p[0]) == pytest.approx(0.25)
    assert float((p * k).sum()) == pytest.approx(float(hurdle.mean))
    assert float((p * (k - hurdle.mean).square()).sum()) == pytest.approx(float(hurdle.variance))


def test_mean_parameters() -> None:
    counts = dist.NegativeBinomial2(t(3.0), t(2.0))
    assert (float(counts.mean), float(counts.variance)) == pytest.approx((3.0, 7.5))
    share = dist.BetaProportion(t(0.2), t(9.0))
    assert (float(share.mean), float(share.variance)) == pytest.approx((0.2, 0.016))


def test_discrete_uniform_is_enumerated() -> None:
    die = dist.DiscreteUniform(1, 6)
    assert die.enumerate_support().tolist() == [1, 2, 3, 4, 5, 6]
    assert float(die.log_prob(die.enumerate_support()).exp().sum()) == pytest.approx(1.0)
    torch.manual_seed(0)
    counts = torch.bincount(die.sample((6000,)).long(), minlength=7)[1:]
    assert float(((counts - 1000.0) ** 2 / 1000).sum()) < 15.1  # chi-square with 5 degrees of freedom, 99 %


def test_a_random_walk_is_a_normal_vector() -> None:
    n = 5
    steps = torch.arange(1, n + 1, dtype=D)
    covariance = 0.49 * torch.minimum(steps, steps.unsqueeze(-1))
    x = torch.randn(n, dtype=D, generator=torch.Generator().manual_seed(1))
    expected = dist.MultivariateNormal(torch.zeros(n, dtype=D), covariance).log_prob(x)
    torch.testing.assert_close(dist.GaussianRandomWalk(t(0.7)[0], n).log_prob(x), expected)


def test_an_autoregression_is_a_normal_vector() -> None:
    n, phi = 6, t(0.6, -0.3)
    lags = (
        torch.eye(n, dtype=D)
        - 0.6 * torch.eye(n, dtype=D).roll(1, 0).tril(-1)
        + 0.3 * torch.eye(n, dtype=D).roll(2, 0).tril(-1)
    )
    precision = lags.T @ lags / 0.25
    mean = torch.linalg.solve(lags, torch.full((n,), 0.1, dtype=D))
    x = torch.randn(n, dtype=D, generator=torch.Generator().manual_seed(2))
    expected = dist.MultivariateNormal(mean, precision_matrix=precision).log_prob(x)
    ours = dist.GaussianAR(phi, t(0.5)[0], n, intercept=0.1)
    torch.testing.assert_close(ours.log_prob(x), expected)
    torch.manual_seed(0)
    draws = ours.sample((20_000,))
    torch.testing.assert_close(draws.T.cov(), torch.linalg.inv(precision), atol=0.02, rtol=0.05)


def test_euler_maruyama_of_a_linear_equation_is_an_autoregression() -> None:
    times = torch.arange(5, dtype=D) * 0.25
    path = dist.EulerMaruyama(
        times, lambda x, _: (-2 * x, torch.ones_like(x)), dist.Normal(t(0.0)[0], t(0.5)[0])
    )
    x = torch.randn(5, dtype=D, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(path.log_prob(x), dist.GaussianAR(t(0.5), t(0.5)[0], 5).log_prob(x))


def test_car_is_a_normal_vector() -> None:
    car = dist.CAR(torch.arange(4, dtype=D), t(0.6)[0], t(2.0)[0], ROW)
    x = torch.randn(4, dtype=D, generator=torch.Generator().manual_seed(4))
    expected = dist.MultivariateNormal(
        torch.arange(4, dtype=D), precision_matrix=car.precision_matrix
    ).log_prob(x)
    torch.testing.assert_close(car.log_prob(x), expected)


def test_icar_is_a_normal_vector() -> None:
    laplacian = torch.diag(ROW.sum(-1)) - ROW
    ones = torch.ones(4, 4, dtype=D) / 4
    # The mean has the standard deviation 0.1, so the constant direction has 0.1 sqrt(4).
    precision = laplacian / 0.49 + ones / (0.01 * 4)
    x = torch.randn(4, dtype=D, generator=torch.Generator().manual_seed(5))
    expected = dist.MultivariateNormal(torch.zeros(4, dtype=D), precision_matrix=precision).log_prob(x)
    ours = dist.ICAR(ROW, t(0.7)[0], zero_sum_scale=0.1)
    torch.testing.assert_close(ours.log_prob(x), expected)
    torch.testing.assert_close(ours.variance, torch.linalg.inv(precision).diagonal())


def test_matrix_normal_is_a_normal_vector() -> None:
    row, column = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=D), torch.diag(t(0.5, 1.0, 2.0))
    column[2, 0] = 0.7
    ours = dist.MatrixNormal(torch.zeros(2, 3, dtype=D), row, column)
    x = torch.randn(2, 3, dtype=D, generator=torch.Generator().manual_seed(6))
    covariance = torch.kron(row @ row.T, column @ column.T)
    expected = dist.MultivariateNormal(torch.zeros(6, dtype=D), covariance).log_prob(x.flatten())
    torch.testing.assert_close(ours.log_prob(x), expected)
    torch.testing.assert_close(ours.variance.flatten(), covariance.diagonal())


@pytest.mark.parametrize("shape", [(4,), (3, 5)])
def test_zero_sum_normal_is_the_image_of_independent_normals(shape: tuple[int, ...]) -> None:
    ours = dist.ZeroSumNormal(t(1.7)[0], shape)
    transform = biject_to(ours.support)
    x = torch.randn([size - 1 for size in shape], dtype=D, generator=torch.Generator().manual_seed(7))
    y = transform(x)
    assert bool(ours.support.check(y))
    assert not bool(ours.support.check(y + 1))
    torch.testing.assert_close(transform.inv(y), x)
    torch.testing.assert_close(ours.log_prob(y), dist.Normal(0.0, t(1.7)[0]).log_prob(x).sum())
    torch.manual_seed(0)
    draws = ours.sample((20_000,))
    torch.testing.assert_close(draws.var(0), ours.variance.to(D), rtol=0.05, atol=0)


def test_log_uniform_is_scipys() -> None:
    x = torch.linspace(0.1, 9.9, 7, dtype=D)
    ours = dist.LogUniform(t(0.1)[0], t(10.0)[0])
    theirs = sp.loguniform(0.1, 10.0)
    torch.testing.assert_close(ours.log_prob(x), torch.from_numpy(theirs.logpdf(x.numpy())))
    assert (float(ours.mean), float(ours.variance)) == pytest.approx((theirs.mean(), theirs.var()))


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "no bounds": (lambda: dist.TruncatedDistribution(dist.Normal(0.0, 1.0)), "needs low, high or both"),
    "discrete base": (lambda: dist.TruncatedDistribution(dist.Poisson(1.0), low=0.0), "continuous univariate base, got Poisson"),
    "bounds in the wrong order": (lambda: dist.TruncatedNormal(low=1.0, high=0.0), "low must be below high"),
    "no limits": (lambda: dist.CensoredDistribution(dist.Normal(0.0, 1.0)), "needs low, high or both"),
    "events": (lambda: dist.HurdleDistribution(dist.Dirichlet(torch.ones(3)), gate=0.1), "univariate base"),
    "high below low": (lambda: dist.DiscreteUniform(3, 1), "low=3 and high=1"),
    "no steps": (lambda: dist.GaussianRandomWalk(1.0, 0), "num_steps must be a positive integer, got 0"),
    "no lags": (lambda: dist.GaussianAR(torch.tensor(0.5), 1.0, 3), "dim for the lags"),
    "an area alone": (lambda: dist.ICAR(torch.zeros(2, 2)), r"areas \[0, 1\] have no neighbour"),
    "not symmetric": (lambda: dist.CAR(torch.zeros(2), 0.5, 1.0, torch.tensor([[0.0, 1.0], [0.0, 0.0]])), "symmetric"),
    "other areas": (lambda: dist.CAR(torch.zeros(3), 0.5, 1.0, ROW), "loc has 3 areas, the adjacency matrix 4"),
    "other columns": (lambda: dist.MatrixNormal(torch.zeros(2, 3), torch.eye(2), torch.eye(2)), "scale_tril_column"),
    "one entry": (lambda: dist.ZeroSumNormal(1.0, (1,)), "at least two entries"),
    "mean beyond one": (lambda: dist.BetaProportion(1.5, 2.0), "mean must be in"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name: str) -> None:
    make, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        make()


LATENT: dict[str, Callable[[], Any]] = {
    "TruncatedNormal": lambda: dist.TruncatedNormal(0.0, 1.0, low=-0.5, high=2.0),
    "TruncatedDistribution": lambda: dist.TruncatedDistribution(dist.Gumbel(0.0, 1.0), -1.0, 2.0),
    "LogUniform": lambda: dist.LogUniform(0.1, 10.0),
    "GaussianRandomWalk": lambda: dist.GaussianRandomWalk(0.5, 6),
    "GaussianAR": lambda: dist.GaussianAR(torch.tensor([0.5]), 1.0, 5),
    "CAR": lambda: dist.CAR(torch.zeros(4), 0.5, 1.0, ROW.float()),
    "MatrixNormal": lambda: dist.MatrixNormal(torch.zeros(2, 3), torch.eye(2), torch.eye(3)),
    "ZeroSumNormal": lambda: dist.ZeroSumNormal(1.0, (4,)),
    "BetaProportion": lambda: dist.BetaProportion(0.3, 5.0),
}


@pytest.mark.parametrize("name", LATENT)
def test_latent_sites_are_compiled(name: str) -> None:
    def model() -> None:
        x = ember.sample("x", LATENT[name]())
        ember.factor("data", -(x.sum() - 0.3).square())

    losses = []
    for compile in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        guide = AutoNormal(model)
        svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=compile, backend="native")
        losses.append([svi.step() for _ in range(8)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)


def test_constraint_of_zero_sums_is_public() -> None:
    assert repr(constraints.zero_sum(2)) == "ZeroSum(2)"
