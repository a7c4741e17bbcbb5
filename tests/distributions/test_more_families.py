"""The families that Ember adds to torch's: densities against scipy or quadrature, draws against densities, odd corners."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats as sp
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions import constraints, transforms
from ember.distributions.reshaped import BatchReshaped

DOUBLE = torch.float64


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


A, B, C = t(0.5, 1.0, 2.5), t(1.5, 0.7, 3.0), t(0.2, 0.5, 0.9)

REAL: dict[str, Callable[[], Any]] = {
    "AsymmetricLaplace": lambda: dist.AsymmetricLaplace(C, A, B),
    "SoftAsymmetricLaplace": lambda: dist.SoftAsymmetricLaplace(C, A, B, C),
    "SoftLaplace": lambda: dist.SoftLaplace(C, A),
    "Logistic": lambda: dist.Logistic(C, A),
    "SkewLogistic": lambda: dist.SkewLogistic(C, A, B),
    "Folded": lambda: dist.FoldedDistribution(dist.Normal(C, A)),
    "AffineBeta": lambda: dist.AffineBeta(A + 1, B + 1, C, A),
    "MaskedMixture": lambda: dist.MaskedMixture(
        tensor([True, False, True]), dist.Normal(C, A), dist.Gamma(A + 1, B)
    ),
    "StableWithLogProb": lambda: dist.StableWithLogProb(t(1.3, 1.7, 1.95), t(0.5, -0.8, 0.0), A, C),
}

COUNTS: dict[str, Callable[[], Any]] = {
    "BetaBinomial": lambda: dist.BetaBinomial(A, B, t(4, 6, 3)),
    "ExtendedBetaBinomial": lambda: dist.ExtendedBetaBinomial(A, B, t(4, 6, 3)),
    "ExtendedBinomial": lambda: dist.ExtendedBinomial(t(4, 6, 3), C),
    "GammaPoisson": lambda: dist.GammaPoisson(A, B),
    "ZeroInflated": lambda: dist.ZeroInflatedDistribution(dist.Poisson(B), gate=C),
    "ZeroInflatedPoisson": lambda: dist.ZeroInflatedPoisson(B, gate_logits=C),
    "ZeroInflatedNegativeBinomial": lambda: dist.ZeroInflatedNegativeBinomial(B, logits=-A, gate=C),
}


def grid_for(d: Any, half_width: float = 400.0) -> Tensor:
    """Fine around the bulk, coarse far out."""
    points = 1501 if isinstance(d, dist.Stable) else 40_001
    u = torch.linspace(-1, 1, points, dtype=DOUBLE)
    x = half_width * u.sign() * u.abs() ** 4
    low, high = -math.inf, math.inf
    support = d.support
    if hasattr(support, "lower_bound"):
        low, high = support.lower_bound, getattr(support, "upper_bound", tensor(math.inf))
        x = torch.as_tensor(low, dtype=DOUBLE) + (x.abs()[:, None] + 1e-9)
        x = torch.minimum(x.sort(0).values, torch.as_tensor(high, dtype=DOUBLE) - 1e-9)
        return x.expand(-1, 3)
    return x[:, None].expand(-1, 3)


def density_on_grid(d: Any) -> tuple[Tensor, Tensor]:
    x = grid_for(d)
    if isinstance(d, dist.MaskedMixture):
        x = torch.where(d._mask, x.abs().sort(0).values + 1e-9, x)
    return x, d.log_prob(x).exp()


@pytest.mark.parametrize("name", REAL)
def test_densities_integrate_to_one_and_have_the_moments(name: str) -> None:
    d = REAL[name]()
    x, density = density_on_grid(d)
    heavy = name == "StableWithLogProb"
    assert_close(
        torch.trapezoid(density, x, dim=0), torch.ones(3, dtype=DOUBLE), rtol=5e-3 if heavy else 1e-4, atol=0
    )
    if heavy or name in {"SkewLogistic", "Folded"}:
        return
    mean = torch.trapezoid(density * x, x, dim=0)
    assert_close(mean, d.mean, rtol=1e-3, atol=1e-4)
    assert_close(torch.trapezoid(density * (x - mean) ** 2, x, dim=0), d.variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", REAL)
def test_draws_follow_the_density(name: str) -> None:
    """Kolmogorov's distance to the integrated density; 2.3 / sqrt(n) is exceeded once in 20,000 times."""
    torch.manual_seed(0)
    n = 20_000
    d = REAL[name]()
    x, density = density_on_grid(d)
    cumulative = torch.cumulative_trapezoid(density, x, dim=0)
    draws = d.sample((n,)).sort(0).values
    for i in range(3):
        at_draws = np.interp(draws[:, i].numpy(), x[1:, i].numpy(), cumulative[:, i].numpy())
        empirical = (np.arange(n) + 0.5) / n
        assert np.abs(at_draws - empirical).max() < 2.3 / math.sqrt(n) + 2e-3
    if d.has_rsample and hasattr(d, "icdf") and name in {"SoftLaplace", "Logistic", "SkewLogistic"}:
        u = torch.linspace(0.01, 0.99, 9, dtype=DOUBLE)[:, None]
        assert_close(d.cdf(d.icdf(u)), u.expand(-1, 3))


@pytest.mark.parametrize("name", COUNTS)
def test_masses_sum_to_one_and_have_the_moments(name: str) -> None:
    torch.manual_seed(0)
    d = COUNTS[name]()
    k = torch.arange(-3.0 if name.startswith("Extended") else 0.0, 400.0, dtype=DOUBLE)[:, None]
    if name == "BetaBinomial":
        k = k[:7]
        mass = torch.where(k <= d.total_count, d.log_prob(torch.minimum(k, d.total_count)).exp(), 0.0)
    else:
        mass = d.log_prob(k).exp()
    assert_close(mass.sum(0), torch.ones(3, dtype=DOUBLE))
    mean = (k * mass).sum(0)
    variance = ((k - mean) ** 2 * mass).sum(0)
    assert_close(d.mean, mean)
    assert_close(d.variance, variance)
    n = 20_000
    draws = d.sample((n,))
    assert ((draws.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()


def test_counts_against_scipy() -> None:
    k = torch.arange(4.0, dtype=DOUBLE)[:, None]
    expected = sp.betabinom.logpmf(k.numpy(), 4, A.numpy(), B.numpy())
    np.testing.assert_allclose(dist.BetaBinomial(A, B, 4).log_prob(k).numpy(), expected)
    expected = sp.nbinom.logpmf(k.numpy(), A.numpy(), (B / (1 + B)).numpy())
    np.testing.assert_allclose(dist.GammaPoisson(A, B).log_prob(k).numpy(), expected)
    alpha, counts = np.array([0.5, 1.0, 2.5]), np.array([2, 0, 3])
    expected = sp.dirichlet_multinomial.logpmf(counts, alpha, 5)
    for sparse in (False, True):
        d = dist.DirichletMultinomial(A, total_count=5, is_sparse=sparse)
        assert d.log_prob(t(2, 0, 3)).item() == pytest.approx(expected)
        assert d.support.check(t(2, 0, 3))


def test_dirichlet_multinomial_moments_and_uneven_totals() -> None:
    torch.manual_seed(0)
    d = dist.DirichletMultinomial(A, total_count=5)
    n = 20_000
    draws = d.sample((n,))
    assert ((draws.mean(0) - d.mean).abs() < 5 * (d.variance / n).sqrt()).all()
    assert_close(draws.var(0), d.variance, rtol=0.05, atol=0)
    uneven = dist.DirichletMultinomial(A.expand(2, 3), total_count=tensor([3, 4]))
    assert uneven.batch_shape == (2,)
    with pytest.raises(NotImplementedError, match="Inhomogeneous total count not supported by `sample`"):
        uneven.sample()
    with pytest.raises(NotImplementedError, match="not supported by `enumerate_support`"):
        dist.BetaBinomial(1.0, 1.0, tensor([3.0, 4.0])).enumerate_support()


def test_laplace_family_against_scipy() -> None:
    x = torch.linspace(-3, 4, 9, dtype=DOUBLE)[:, None]
    z = ((x - C) / A).numpy()
    log_scale = A.log().numpy()
    pairs = {
        dist.AsymmetricLaplace(C, A, B): sp.laplace_asymmetric.logpdf(z, B.numpy()),
        dist.SoftLaplace(C, A): sp.hypsecant.logpdf(z),
        dist.Logistic(C, A): sp.logistic.logpdf(z),
        dist.SkewLogistic(C, A, B): sp.genlogistic.logpdf(z, B.numpy()),
        dist.FoldedDistribution(dist.Normal(C, A)): None,
    }
    for d, expected in pairs.items():
        if expected is None:
            x_, z_ = x.abs() + 0.1, (x.abs() + 0.1) / A
            expected = sp.foldnorm.logpdf(z_.numpy(), (C / A).numpy())
            np.testing.assert_allclose(d.log_prob(x_).numpy(), expected - log_scale, rtol=1e-6)
        else:
            np.testing.assert_allclose(d.log_prob(x).numpy(), expected - log_scale, rtol=1e-6)


def test_soft_asymmetric_laplace_is_finite_in_the_tails() -> None:
    d = dist.SoftAsymmetricLaplace(0.0, 1.0, 2.0, 0.1)
    log_prob = d.log_prob(tensor([-200.0, 200.0]))
    assert_close(
        log_prob, dist.AsymmetricLaplace(0.0, 1.0, 2.0).log_prob(tensor([-200.0, 200.0])), atol=0.1, rtol=0
    )


@pytest.mark.parametrize("alpha", [0.6, 1.2, 1.8, 2.0])
def test_stable_density_is_that_of_scipy(alpha: float) -> None:
    x = np.array([-3.0, -0.7, 0.4, 2.0, 7.0])
    for beta in (-0.6, 0.0, 0.5):
        shift = beta * math.tan(math.pi / 2 * alpha)  # scipy's default coordinates
        expected = sp.levy_stable.logpdf(x - 0.0, alpha, beta, loc=-shift)
        d = dist.StableWithLogProb(tensor(alpha, dtype=DOUBLE), beta)
        np.testing.assert_allclose(
            d.log_prob(torch.from_numpy(x)).numpy(), expected, atol=2e-3
        )  # interpolated near a singular point
        other = dist.StableWithLogProb(tensor(alpha, dtype=DOUBLE), beta, coords="S", loc=-shift)
        assert_close(other.log_prob(torch.from_numpy(x)), d.log_prob(torch.from_numpy(x)))


def test_stable_corners() -> None:
    torch.manual_seed(0)
    x = t(-2.0, 0.5, 3.0)
    assert_close(
        dist.Stable(t(2.0), 0.0, 1.3, 0.4).log_prob(x),
        dist.Normal(0.4, 1.3 * math.sqrt(2)).log_prob(x).double(),
        rtol=1e-4,
        atol=1e-4,
    )
    # Interpolated over stability 1.
    assert_close(
        dist.Stable(t(1.0), 0.0).log_prob(x), dist.Cauchy(t(0.0), 1.0).log_prob(x), rtol=0, atol=5e-3
    )
    one_sided = dist.Stable(t(0.5), 1.0, coords="S")
    assert (one_sided.sample((1000,)) > 0).all()
    assert one_sided.log_prob(t(-1.0)) == -math.inf
    assert one_sided.log_prob(t(1.7)).item() == pytest.approx(sp.levy.logpdf(1.7), rel=1e-6)
    assert dist.Stable(1.5, 0.4, coords="S").mean == 0 and dist.Stable(0.9, 0.4).mean.isnan()
    with pytest.raises(AssertionError):
        dist.Stable(1.5, 0.0, coords="S1")
    draws = dist.Stable(torch.full((1000,), 1.0), 0.5).sample()
    assert draws.isfinite().all()


def test_stable_draws_are_continuous_in_stability() -> None:
    draws = []
    for alpha in (0.989, 0.991, 0.999, 1.0, 1.001, 1.009, 1.011):
        torch.manual_seed(0)
        draws.append(dist.Stable(t(alpha), 0.7).sample((50,)))
    for a, b in itertools.pairwise(draws):
        assert ((a - b).abs() < 0.03 * (1 + a.abs() * (1 + a.abs()).log())).all()


@pytest.mark.parametrize(
    "family", ["AsymmetricLaplace", "Logistic", "SkewLogistic", "SoftLaplace", "Stable", "Soft"]
)
def test_draws_are_differentiable(family: str) -> None:
    """The gradient of a draw is the difference of draws with the same noise."""
    make: dict[str, Callable[..., Any]] = {
        "AsymmetricLaplace": lambda p: dist.AsymmetricLaplace(p, p.exp(), 1 + p),
        "Logistic": lambda p: dist.Logistic(p, p.exp()),
        "SkewLogistic": lambda p: dist.SkewLogistic(p, p.exp(), 1 + p),
        "SoftLaplace": lambda p: dist.SoftLaplace(p, p.exp()),
        "Stable": lambda p: dist.Stable(1.4 + p / 4, p, p.exp(), p),
        "Soft": lambda p: dist.SoftAsymmetricLaplace(p, p.exp(), 1 + p, 1 + p),
    }

    def draw(p: Tensor) -> Tensor:
        torch.manual_seed(3)
        return make[family](p).rsample((5,))

    p = t(0.1, 0.3, 0.6).requires_grad_()
    (grad,) = torch.autograd.grad(draw(p).sum(), p)
    eps = 1e-6
    with torch.no_grad():
        expected = (draw(p + eps) - draw(p - eps)).sum(0) / (2 * eps)
    assert_close(grad, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_projected_normal_density(n: int) -> None:
    """The mean over uniform directions of the density is the inverse of the sphere's area."""
    torch.manual_seed(0)
    concentration = torch.linspace(-1, 1.5, n, dtype=DOUBLE)
    d = dist.ProjectedNormal(concentration)
    uniform = dist.ProjectedNormal(torch.zeros(n, dtype=DOUBLE))
    area = 2 * math.pi ** (n / 2) / math.gamma(n / 2)
    x = uniform.sample((100_000,))
    assert_close(uniform.log_prob(x), torch.full((100_000,), -math.log(area), dtype=DOUBLE))
    ratio = d.log_prob(x).exp() * area
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(x) ** 0.5
    weighted, drawn = x * ratio[:, None], d.sample((100_000,))
    error = (weighted.var(0) + drawn.var(0)).sqrt() / len(x) ** 0.5
    assert ((weighted.mean(0) - drawn.mean(0)).abs() < 5 * error).all()
    assert_close(d.mean, concentration / concentration.norm())
    assert constraints.sphere.check(drawn).all()


def test_projected_normal_says_what_to_do() -> None:
    x = torch.ones(5) / math.sqrt(5)
    with pytest.raises(NotImplementedError, match=r"not implemented for dim = 5\.$"):
        dist.ProjectedNormal(torch.zeros(5)).log_prob(x)
    with pytest.raises(
        NotImplementedError, match=r"Consider using poutine\.reparam with ProjectedNormalReparam"
    ):
        dist.ProjectedNormal(torch.zeros(5)).log_prob(x.requires_grad_())
    with pytest.raises(ValueError, match="Expected event shape"):
        dist.ProjectedNormal(torch.zeros(2)).log_prob(torch.ones(1))


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_straight_through_draws_are_discrete_with_relaxed_gradients(kind: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, requires_grad=True)
    names = {"bernoulli": "RelaxedBernoulli", "categorical": "RelaxedOneHotCategorical"}
    relaxed = getattr(dist, names[kind])(tensor(0.6), logits=logits)
    hard = getattr(dist, names[kind] + "StraightThrough")(tensor(0.6), logits=logits)
    torch.manual_seed(1)
    soft = relaxed.rsample((50,))
    torch.manual_seed(1)
    draws = hard.rsample((50,))
    assert ((draws == 0) | (draws == 1)).all()
    assert_close(
        draws, soft.round() if kind == "bernoulli" else (soft == soft.amax(-1, keepdim=True)).float()
    )
    weights = torch.randn(50, 4)
    assert_close(
        torch.autograd.grad((draws * weights).sum(), logits),
        torch.autograd.grad((soft * weights).sum(), logits),
    )
    assert_close(hard.log_prob(hard.rsample()).isfinite().all(), tensor(True))


def test_improper_uniform() -> None:
    d = dist.ImproperUniform(constraints.simplex, (2, 1), (3,))
    assert d.support is constraints.simplex and d.expand((4, 2, 5)).batch_shape == (4, 2, 5)
    value = torch.ones(2, 5, 3) / 3
    assert_close(d.log_prob(value), torch.zeros(2, 5))
    assert_close(d.to_event(1).log_prob(value), torch.zeros(2))
    with pytest.raises(NotImplementedError, match="does not support sampling"):
        d.sample()
    assert pickle.loads(pickle.dumps(d)).event_shape == (3,)
    with pytest.raises(AssertionError):
        dist.ImproperUniform(3, (), ())


def test_masked_mixture_checks_and_leaves_its_components_alone() -> None:
    mask = tensor([True, False])
    first, second = dist.Normal(torch.zeros(2), 1.0), dist.Gamma(torch.ones(2), 1.0)
    d = dist.MaskedMixture(mask, first, second)
    assert first._validate_args and second._validate_args
    value = tensor([2.0, -2.0])
    assert_close(
        d.log_prob(value), torch.stack([second.log_prob(tensor(2.0))[0], first.log_prob(tensor(-2.0))[1]])
    )
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(-value)
    assert not d.mask(False).log_prob(value).any()
    with pytest.raises(ValueError, match="Expected mask to be a BoolTensor"):
        dist.MaskedMixture(mask.float(), first, second)
    with pytest.raises(ValueError, match="event_shape disagree"):
        dist.MaskedMixture(mask, first, dist.Normal(torch.zeros(2, 2), 1.0).to_event(1))


def test_ordered_logistic_is_a_cut_logistic_variable() -> None:
    predictor, cutpoints = t(0.3, -1.0), t(-1.0, 0.2, 1.5)
    d = dist.OrderedLogistic(predictor, cutpoints)
    cdf = dist.Logistic(predictor[:, None], 1.0).cdf(cutpoints)
    assert_close(d.probs.cumsum(-1)[:, :-1], cdf)
    e = d.expand((3, 2))
    assert e.predictor.shape == (3, 2) and e.cutpoints.shape == (3, 2, 3)
    with pytest.raises(ValueError, match="cutpoints"):
        dist.OrderedLogistic(predictor, t(0.2, -1.0))


def test_nan_masked_normals_marginalise() -> None:
    nan = math.nan
    torch.manual_seed(0)
    root = torch.randn(3, 3, dtype=DOUBLE)
    covariance, loc = root @ root.T + torch.eye(3, dtype=DOUBLE), t(0.1, -0.2, 0.3)
    loc.requires_grad_()
    covariance.requires_grad_()
    d = dist.NanMaskedMultivariateNormal(loc, covariance)
    data = torch.stack([t(0.1, 0.2, 3.4), t(nan, 0.1, 0.5), t(0.6, nan, nan), t(nan, nan, nan)])
    log_prob = d.log_prob(data)
    for row, value in zip(data, log_prob, strict=True):
        there = row.isfinite()
        expected = tensor(0.0, dtype=DOUBLE)
        if there.any():
            part = dist.MultivariateNormal(loc[there], covariance[there][:, there])
            expected = part.log_prob(row[there])
        assert_close(value, expected)
    grads = torch.autograd.grad(log_prob.sum(), [loc, covariance])
    assert all(g.isfinite().all() for g in grads)
    scale = t(1.0, 2.0, 3.0).requires_grad_()
    flat = dist.NanMaskedNormal(loc, scale).log_prob(data)
    expected = (
        dist.Normal(loc, scale)
        .log_prob(data.nan_to_num(0.0))
        .where(data.isfinite(), tensor(0.0, dtype=DOUBLE))
    )
    assert_close(flat, expected)
    assert all(g.isfinite().all() for g in torch.autograd.grad(flat.sum(), [loc, scale]))


def test_multivariate_student_t() -> None:
    torch.manual_seed(0)
    tril = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=DOUBLE)
    loc, x = t(0.3, -0.5), torch.randn(6, 2, dtype=DOUBLE)
    d = dist.MultivariateStudentT(5.0, loc, tril)
    expected = sp.multivariate_t.logpdf(x.numpy(), loc.numpy(), (tril @ tril.T).numpy(), df=5)
    np.testing.assert_allclose(d.log_prob(x).numpy(), expected)
    n = 50_000
    draws = d.sample((n,))
    assert ((draws.mean(0) - d.mean).abs() < 5 * (d.variance / n).sqrt()).all()
    assert_close(draws.var(0), d.variance, rtol=0.1, atol=0)
    assert_close(d.covariance_matrix @ d.precision_matrix, torch.eye(2, dtype=DOUBLE))
    heavy = dist.MultivariateStudentT(t(0.5, 1.5, 3.0), loc, tril)
    assert (
        heavy.mean[0].isnan().all() and heavy.variance[1].isinf().all() and heavy.variance[2].isfinite().all()
    )


def test_lkj_is_the_cholesky_family_squared() -> None:
    torch.manual_seed(0)
    d = dist.LKJ(3, 2.0)
    x = d.sample((4000,))
    assert constraints.corr_matrix.check(x).all()
    # Each correlation is a beta variable on (-1, 1), with both parameters concentration + dim / 2 - 1.
    a = 2.0 + 3 / 2 - 1
    assert sp.kstest(x[:, 0, 1].numpy(), sp.beta(a, a, -1, 2).cdf).pvalue > 1e-5
    assert_close(
        d.log_prob(x) - (2 - 1) * x.logdet(),
        (d.log_prob(x[:1]) - x[:1].logdet()).expand(4000),
        rtol=1e-3,
        atol=1e-3,
    )
    assert d.expand((2,)).concentration.shape == (2,)
    with pytest.warns(FutureWarning, match="LKJCorrCholesky"):
        assert dist.LKJCorrCholesky(3, 1.0).dim == 3


def test_zero_inflation_checks_and_gates() -> None:
    base = dist.Poisson(t(1.0, 2.0))
    for gate in ({}, {"gate": C[:1], "gate_logits": C[:1]}):
        with pytest.raises(
            ValueError, match="Either `gate` or `gate_logits` must be specified, but not both"
        ):
            dist.ZeroInflatedDistribution(base, **gate)
    with pytest.raises(ValueError, match=r"expected empty base_dist\.event_shape"):
        dist.ZeroInflatedDistribution(base.to_event(1), gate=tensor(0.5))
    k = torch.arange(5.0, dtype=DOUBLE)[:, None]
    by_gate = dist.ZeroInflatedPoisson(t(1.0, 2.0), gate=t(0.3))
    by_logits = dist.ZeroInflatedPoisson(t(1.0, 2.0), gate_logits=t(0.3).logit())
    assert_close(by_gate.log_prob(k), by_logits.log_prob(k))
    assert_close(by_gate.gate_logits, by_logits.gate_logits)
    never, always = (dist.ZeroInflatedPoisson(t(1.0), gate=t(g)) for g in (0.0, 1.0))
    assert_close(never.log_prob(k), dist.Poisson(t(1.0)).log_prob(k))
    assert always.log_prob(t(0.0)) == 0 and always.log_prob(t(2.0)) == -math.inf


def test_extended_counts_take_any_integer() -> None:
    values = t(-2.0, 0.0, 1.0, 9.0)
    for d in (dist.ExtendedBinomial(t(-1.0), t(0.5)), dist.ExtendedBetaBinomial(1.0, 1.0, t(-1.0))):
        assert (d.log_prob(values) == -math.inf).all()
    plain = dist.Binomial(3, t(0.5)).log_prob(values[1:3])
    assert_close(dist.ExtendedBinomial(3, t(0.5)).log_prob(values)[1:3], plain)


def test_families_of_ones_own_keep_their_class() -> None:
    class Mine(dist.Logistic):
        pass

    class Other(dist.Logistic):
        def __init__(self, loc: Any) -> None:
            super().__init__(loc, 1.0)

    assert type(Mine(0.0, 1.0).expand((2,))) is Mine
    with pytest.raises(NotImplementedError, match=r"must also define a custom \.expand"):
        Other(0.0).expand((2,))
    assert Other(0.0).expand_by((2,)).batch_shape == (2,)


def test_batches_can_be_laid_out_anew() -> None:
    d = BatchReshaped(dist.Normal(torch.arange(6.0).reshape(2, 3), 1.0).to_event(1), (1, 2, 1))
    x = d.rsample((4,))
    assert x.shape == (4, 1, 2, 1, 3) and d.log_prob(x).shape == (4, 1, 2, 1)
    assert_close(d.mean.reshape(2, 3), torch.arange(6.0).reshape(2, 3))
    assert_close(d.log_prob(x).reshape(4, 2), d.base_dist.log_prob(x.reshape(4, 2, 3)))
    with pytest.raises(ValueError, match="cannot turn batch shape"):
        BatchReshaped(d, (4,))


def test_unit_jacobian_transforms_whiten() -> None:
    """Brownian motion becomes white noise under smooth=1: nearly equal variances, no correlation."""
    torch.manual_seed(0)
    walk = torch.randn(20_000, 16, dtype=DOUBLE).cumsum(-1)
    y = transforms.DiscreteCosineTransform(smooth=1.0)(walk)[:, 1:]
    correlation = torch.corrcoef(y.T) - torch.eye(15, dtype=DOUBLE)
    assert correlation.abs().max() < 0.05
    assert y.var(0).max() / y.var(0).min() < 2.6


LOCS = torch.tensor([[-1.0, 0.3], [0.5, 1.0], [2.0, -1.0]], dtype=DOUBLE)
SCALES = torch.tensor([[0.5, 0.7], [1.0, 0.4], [0.8, 1.2]], dtype=DOUBLE)
LOGITS = t(0.1, -0.5, 0.4)
MIXTURES: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "MixtureOfDiagNormals": (dist.MixtureOfDiagNormals, (LOCS, SCALES, LOGITS)),
    "Shared": (dist.MixtureOfDiagNormalsSharedCovariance, (LOCS, SCALES[0], LOGITS)),
    "GaussianScaleMixture": (dist.GaussianScaleMixture, (SCALES[0], LOGITS, t(0.5, 1.0, 2.0))),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_diagonal_mixtures(name: str) -> None:
    """Densities by components; pathwise gradients of a mean against those of the mean's closed form, within 5 errors."""
    torch.manual_seed(0)
    family, values = MIXTURES[name]
    parameters = [v.clone().requires_grad_() for v in values]
    d = family(*parameters)
    loc, scale = d._components()
    x = torch.randn(5, 2, dtype=DOUBLE)
    parts = dist.Normal(loc, scale).to_event(1).log_prob(x.unsqueeze(-2))
    assert_close(d.log_prob(x), (parts + LOGITS.log_softmax(-1)).logsumexp(-1))

    n = 4000
    weights = t(0.7, -1.3)

    def cost(z: Tensor) -> Tensor:
        return (z * weights).sum(-1).cos() + z.square().sum(-1)

    # E cos(w z) and E z^2 of a mixture of normals.
    spread, centre = (scale * weights).square().sum(-1), (loc * weights).sum(-1)
    expected = (
        d.probs * (centre.cos() * (-spread / 2).exp() + (loc.square() + scale.square()).sum(-1))
    ).sum()
    exact = torch.autograd.grad(expected, parameters)
    batches = []
    for _ in range(20):
        z = d.rsample((n,))
        batches.append(torch.autograd.grad(cost(z).mean(), parameters, retain_graph=True))
    for i, truth in enumerate(exact):
        estimates = torch.stack([batch[i] for batch in batches])
        error = estimates.std(0) / 20**0.5
        assert ((estimates.mean(0) - truth).abs() < 5 * error + 1e-9).all()
    many = d.sample((n * 10,))
    assert not many.requires_grad
    assert ((many.mean(0) - d.mean).abs() < 5 * (d.variance / len(many)).sqrt()).all()
    assert_close(many.var(0), d.variance, rtol=0.1, atol=0.0, check_dtype=False)
    with pytest.raises(AssertionError, match="expects shapes"):
        family(*values[:-1], t(1.0, 2.0))


def test_rejector_draws_what_is_accepted() -> None:
    """A half-normal by rejection from an exponential: its score is that of the acceptance alone."""
    torch.manual_seed(0)
    rate = t(1.0).expand(20_000).clone().requires_grad_()
    # accepted with exp(-(x - 1)^2 / 2), a share of sqrt(pi / (2 e)) of all proposals
    d = dist.Rejector(
        dist.Exponential(rate), lambda x: -0.5 * (x - 1) ** 2, 0.5 * math.log(math.pi / 2 / math.e)
    )
    assert d.batch_shape == (20_000,) and d.event_shape == () and d.has_rsample
    x = d.rsample()
    assert x.requires_grad
    assert_close(d.log_prob(x), dist.HalfNormal(t(1.0)).log_prob(x))
    assert sp.kstest(x.detach().numpy(), sp.halfnorm.cdf).pvalue > 1e-5
    parts = d.score_parts(x)
    assert_close(parts.score_function, d.log_prob(x) - dist.Exponential(rate).log_prob(x))
    assert_close(parts.entropy_term, parts.log_prob)
    generator = torch.Generator().manual_seed(3)

    class Plain:
        batch_shape, event_shape = torch.Size((4,)), torch.Size()

        def __call__(self, shape: Any, generator: Any) -> Tensor:
            return torch.rand(shape + (4,), generator=generator)

    assert dist.Rejector(Plain(), lambda x: x.log(), 0.0).rsample(
        torch.Size((2,)), generator=generator
    ).shape == (2, 4)


def test_von_mises_3d_integrates_to_one() -> None:
    torch.manual_seed(0)
    x = dist.ProjectedNormal(torch.zeros(3)).sample((100_000,))
    for length in (1e-8, 0.5, 3.0):
        d = dist.VonMises3D(torch.tensor([0.0, 0.6, 0.8]) * length)
        ratio = d.log_prob(x).double().exp() * 4 * math.pi
        assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(x) ** 0.5 + 1e-5
    assert dist.VonMises3D(torch.tensor([0.0, 0.0, 500.0])).log_prob(tensor([0.0, 0.0, 1.0])).isfinite()
    assert d.expand((2,)).batch_shape == (2,)
    for wrong, message in ((torch.zeros(2), "rightmost dim 3"), (torch.ones(3), "not normalized")):
        with pytest.raises(ValueError, match=message):
            d.log_prob(wrong)
    with pytest.raises(ValueError, match="concentration to have rightmost dim 3"):
        dist.VonMises3D(torch.zeros(2))
    with pytest.raises(NotImplementedError):
        d.sample()


def test_sine_skewed() -> None:
    torch.manual_seed(0)
    base = dist.VonMises(t(0.4), 1.2).to_event(1)
    d = dist.SineSkewed(base, t(0.7))
    x = torch.linspace(-math.pi, math.pi, 2001, dtype=DOUBLE)[:, None]
    density = d.log_prob(x).exp()
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1.0, rel=1e-5)
    cumulative = torch.cumulative_trapezoid(density, x[:, 0]).numpy()
    draws = d.sample((20_000,))[:, 0].sort().values.numpy()
    at_draws = np.interp(draws, x[1:, 0].numpy(), cumulative)
    assert np.abs(at_draws - (np.arange(20_000) + 0.5) / 20_000).max() < 2.3 / math.sqrt(20_000) + 1e-3
    with pytest.warns(UserWarning, match="Total skewness weight shouldn't exceed one"):
        dist.SineSkewed(dist.VonMises(torch.zeros(2), 1.0).to_event(1), tensor([0.8, 0.8]))
    with pytest.raises(AssertionError, match="each dimension"):
        dist.SineSkewed(base, t(0.1, 0.2))


def test_polya_gamma_is_the_mixing_density_of_the_logistic() -> None:
    """E exp(-w x^2 / 2) = 1 / cosh(x / 2)."""
    d = dist.TruncatedPolyaGamma(torch.ones((), dtype=DOUBLE))
    w = torch.linspace(1e-4, 2.5, 20_001, dtype=DOUBLE)
    density = d.log_prob(w).exp()
    for x in (0.0, 1.0, 3.0):
        value = torch.trapezoid(density * (-w * x * x / 2).exp(), w)
        assert value.item() == pytest.approx(1 / math.cosh(x / 2), abs=1e-4)
    draws = d.expand((20_000,)).sample()
    assert (draws > 0).all() and draws.mean().item() == pytest.approx(0.25, abs=0.02)


def test_log_normal_negative_binomial() -> None:
    d = dist.LogNormalNegativeBinomial(B, C - 1, t(0.1, 0.3, 0.5), num_quad_points=24)
    k = torch.arange(2000.0, dtype=DOUBLE)[:, None]
    mass = d.log_prob(k).exp()
    assert_close(mass.sum(0), torch.ones(3, dtype=DOUBLE), rtol=1e-4, atol=0)
    assert_close((k * mass).sum(0), d.mean, rtol=1e-2, atol=0)
    assert_close(((k - d.mean) ** 2 * mass).sum(0), d.variance, rtol=5e-2, atol=0)
    assert d.expand((2, 3)).num_quad_points == 24
    with pytest.raises(NotImplementedError):
        d.sample()
    with pytest.raises(ValueError, match="num_quad_points must be positive"):
        dist.LogNormalNegativeBinomial(B, C, A, num_quad_points=0)


@pytest.mark.parametrize("name", ["OMT", "AVF", "AVF-idle"])
def test_other_gradients_of_normal_vectors_have_the_same_mean(name: str) -> None:
    torch.manual_seed(0)
    loc = t(0.3, -0.5, 1.0).requires_grad_()
    tril = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [-0.3, 0.2, 1.4]], dtype=DOUBLE).requires_grad_()
    control = torch.full((2, 2, 3), 0.0 if name == "AVF-idle" else 0.3, dtype=DOUBLE).requires_grad_()
    root = torch.randn(3, 3, dtype=DOUBLE)
    matrix = root @ root.T
    family = dist.OMTMultivariateNormal if name == "OMT" else dist.AVFMultivariateNormal
    parameters = (loc, tril) if name == "OMT" else (loc, tril, control)
    d = family(*parameters)
    plain = dist.MultivariateNormal(loc, scale_tril=tril)
    x = d.rsample((5, 2))
    assert_close(d.log_prob(x), plain.log_prob(x))
    exact = torch.autograd.grad((matrix @ tril @ tril.T).trace() + loc @ matrix @ loc, [loc, tril])
    grads = []
    for _ in range(40):
        z = d.rsample((1000,))
        grads.append(torch.autograd.grad(((z @ matrix) * z).sum(-1).mean(), parameters))
    for i, truth in enumerate((exact[0], exact[1].tril())):
        values = torch.stack([g[i] for g in grads])
        values = values.tril() if i else values
        assert ((values.mean(0) - truth).abs() < 5 * values.std(0) / 40**0.5 + 1e-9).all()
    if name == "AVF-idle":
        torch.manual_seed(1)
        ours = torch.autograd.grad((d.rsample() * loc.detach()).sum(), [loc, tril])
        torch.manual_seed(1)
        theirs = torch.autograd.grad((plain.rsample() * loc.detach()).sum(), [loc, tril])
        assert_close(ours[1], theirs[1].tril())


def test_the_control_variate_descends_the_variance() -> None:
    """Its gradient is that of half the squared norm of the gradient of the Cholesky factor, by finite differences."""
    loc, control = t(0.1, -0.4, 0.7), torch.linspace(-0.5, 0.7, 12, dtype=DOUBLE).reshape(2, 2, 3)
    tril = torch.eye(3, dtype=DOUBLE) + 0.5 * torch.ones(3, 3, dtype=DOUBLE).tril(-1)

    def gradients(control: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        parameters = [tril.clone().requires_grad_(), control.clone().requires_grad_()]
        z = dist.AVFMultivariateNormal(loc, *parameters).rsample((4,))
        return torch.autograd.grad(z.square().sum(), parameters)

    eps = 1e-6
    expected = torch.empty(12, dtype=DOUBLE)
    for i, step in enumerate(eps * torch.eye(12, dtype=DOUBLE).reshape(12, 2, 2, 3)):
        up, down = (0.5 * gradients(control + sign * step)[0].square().sum() for sign in (1, -1))
        expected[i] = (up - down) / (2 * eps)
    assert_close(gradients(control)[1].flatten(), expected, rtol=1e-5, atol=1e-5)
    for make, message in (
        (lambda: dist.OMTMultivariateNormal(loc.expand(2, 3), tril), "loc must be 1-dimensional"),
        (
            lambda: dist.AVFMultivariateNormal(loc, tril.expand(2, 3, 3), control),
            "scale_tril must be 2-dimensional",
        ),
        (
            lambda: dist.AVFMultivariateNormal(loc, tril, control[:1]),
            "control_var should be of size 2 x L x D",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_cholesky_factors_may_be_rounded_to_seven_digits() -> None:
    exact = torch.linalg.cholesky(
        torch.tensor([[1.0, 0.3, 0.2], [0.3, 1.0, -0.4], [0.2, -0.4, 1.0]]).double()
    )
    d = dist.LKJCholesky(3, torch.tensor(2.0).double(), validate_args=True)
    torch.testing.assert_close(
        d.log_prob((exact * 1e7).round() / 1e7), d.log_prob(exact), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="CorrCholesky"):
        d.log_prob(exact * 1.001)


class _Squares(dist.Rejector):
    """Squares of uniform numbers, proposed by a function: no distribution, but the density is known."""

    def __init__(self, size: int) -> None:
        def propose(shape: torch.Size = torch.Size()) -> torch.Tensor:  # noqa: B008
            return torch.rand(shape + (size,))

        accept = torch.full((size,), 2 / 3).log()
        super().__init__(
            propose, lambda x: x.log() / 2, accept, batch_shape=torch.Size([size]), event_shape=torch.Size()
        )

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return torch.tensor(1.5).log() + value.log() / 2


def test_a_rejector_takes_any_callable() -> None:
    d = _Squares(3)
    assert d.sample((1000,)).mean().item() == pytest.approx(0.6, abs=0.03)
    x = d.rsample()
    parts = d.score_parts(x)
    torch.testing.assert_close(parts.log_prob, d.log_prob(x))
    torch.testing.assert_close(parts.score_function, x.log() / 2 - torch.tensor(2 / 3).log())


def test_gaps_in_ten_dims_cost_no_digits_in_float32() -> None:
    torch.manual_seed(0)
    root = torch.randn(10, 12)
    covariance, data = root @ root.T, torch.randn(100, 10)
    data[torch.rand(100, 10) < 0.5] = math.nan
    data[0] = math.nan
    exact = dist.NanMaskedMultivariateNormal(torch.zeros(10, dtype=DOUBLE), covariance.double()).log_prob(
        data.double()
    )
    found = dist.NanMaskedMultivariateNormal(torch.zeros(10), covariance).log_prob(data)
    assert found[0].item() == 0.0
    assert_close(found.double(), exact, rtol=3e-6, atol=3e-6)


def test_a_masked_mixture_checks_each_value_against_its_own_component_only() -> None:
    mask = tensor([True, False])
    d = dist.MaskedMixture(
        mask, dist.Normal(torch.zeros(2), 1.0), dist.LogNormal(torch.zeros(2), 1.0), validate_args=True
    )
    assert d.log_prob(tensor([1.0, -1.0])).isfinite().all()
    with pytest.raises(ValueError, match="support"):
        d.log_prob(tensor([-1.0, -1.0]))
