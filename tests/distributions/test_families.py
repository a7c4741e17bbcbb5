"""What single families do beyond torch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember import settings

positive = st.floats(0.1, 10.0)


@given(positive, positive, positive, positive, st.floats(0.01, 0.99))
def test_conjugate_updates_hold_their_equation(a: float, b: float, c: float, d: float, x: float) -> None:
    value = tensor(x, dtype=torch.double)
    t = [tensor(v, dtype=torch.double) for v in (a, b, c, d)]
    vectors = [torch.stack([t[0], t[1], t[2]]), torch.stack([t[1] + 1, t[2] + 1, t[3] + 1])]
    pairs: list[Any] = [
        (dist.Beta(t[0], t[1]), dist.Beta(t[2] + 1, t[3] + 1), value),
        (dist.Gamma(t[0], t[1]), dist.Gamma(t[2] + 1, t[3]), value),
        (
            dist.Dirichlet(vectors[0]),
            dist.Dirichlet(vectors[1]),
            torch.stack([value / 2, value / 2, 1 - value]),
        ),
    ]
    for p, q, v in pairs:
        updated, log_normalizer = p.conjugate_update(q)
        assert type(updated) is type(p)
        assert_close(p.log_prob(v) + q.log_prob(v), updated.log_prob(v) + log_normalizer)
        masked, masked_normalizer = p.mask(tensor(True)).conjugate_update(q)
        assert type(masked) is dist.MaskedDistribution
        assert_close(masked_normalizer, log_normalizer)
        expanded, _ = dist.ExpandedDistribution(p, (2,)).conjugate_update(q)
        assert expanded.batch_shape == (2,)


def test_conjugate_update_wants_its_own_family() -> None:
    with pytest.raises(AssertionError, match="expects a Beta, got Gamma"):
        dist.Beta(1.0, 1.0).conjugate_update(dist.Gamma(1.0, 1.0))


# ---- Categorical


def test_categorical_knows_its_own_support() -> None:
    d = dist.Categorical(logits=torch.randn(2, 3, 4))
    values = d.enumerate_support(expand=False)
    assert values.shape == (4, 1, 1) and values._pyro_categorical_support == id(d)
    expected = torch.distributions.Categorical(logits=d.logits).log_prob(torch.arange(4).reshape(4, 1, 1))
    assert_close(d.log_prob(values), expected)
    # An enumeration handler moves the dim further left; the mark must be set again then.
    moved: Any = values.reshape(4, 1, 1, 1, 1)
    moved._pyro_categorical_support = values._pyro_categorical_support
    assert_close(d.log_prob(moved), expected.reshape(4, 1, 1, 2, 3))


def test_categorical_support_of_another_instance() -> None:
    d, other = (dist.Categorical(logits=torch.randn(2, 4)) for _ in range(2))
    values = d.enumerate_support(expand=False)
    expected = torch.distributions.Categorical(logits=other.logits).log_prob(values)
    assert_close(other.log_prob(values), expected)
    assert not hasattr(d.enumerate_support(expand=True), "_pyro_categorical_support")


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_categorical_support_out_of_place_is_looked_up(shape: tuple[int, ...]) -> None:
    d = dist.Categorical(logits=torch.randn(4, 4) if shape == (4,) else torch.randn(2, 4))
    value: Any = d.enumerate_support(expand=False).reshape(shape)
    value._pyro_categorical_support = id(d)
    expected = torch.distributions.Categorical(logits=d.logits).log_prob(value)
    assert_close(d.log_prob(value), expected)


def test_categorical_support_has_gradients_and_no_gather() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    d = dist.Categorical(logits=logits)
    log_prob = d.log_prob(d.enumerate_support(expand=False))
    assert log_prob.data_ptr() == d.logits.data_ptr()
    (log_prob.exp() * torch.arange(4.0)[:, None]).sum().backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0


# ---- Binomial


@pytest.mark.parametrize("logit", [-1000.0, -1.0, 0.0, 1.0, 1000.0])
def test_binomial_is_finite_at_extreme_logits(logit: float) -> None:
    logits = tensor(logit, requires_grad=True)
    k = tensor([0.0, 3.0])
    log_prob = dist.Binomial(3, logits=logits).log_prob(k)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    # d/dlogit = k - n sigmoid(logit), also at 0.
    assert_close(logits.grad, (k - 3 * torch.sigmoid(tensor(logit))).sum())


def test_binomial_settings() -> None:
    assert settings.get("binomial_approx_sample_thresh") == math.inf
    assert settings.get("binomial_approx_log_prob_tol") == 0.0
    with settings.context(binomial_approx_sample_thresh=10.0, binomial_approx_log_prob_tol=0.01):
        assert dist.Binomial.approx_sample_thresh == 10.0
        assert dist.Binomial.approx_log_prob_tol == 0.01
    assert dist.Binomial.approx_sample_thresh == math.inf
    for bad in ({"binomial_approx_sample_thresh": 0.0}, {"binomial_approx_log_prob_tol": -1.0}):
        with pytest.raises(AssertionError):
            settings.set(**bad)


@pytest.mark.parametrize("p", [0.01, 0.4, 0.5, 0.9])
def test_binomial_approximate_samples_match_moments(p: float) -> None:
    torch.manual_seed(0)
    n, draws = 10_000, 20_000
    d = dist.Binomial(tensor([n, 20.0]), probs=tensor(p))
    with settings.context(binomial_approx_sample_thresh=100.0):
        x = d.sample(torch.Size((draws,)))
    assert x.shape == (draws, 2)
    assert (x >= 0).all() and (x <= tensor([n, 20.0])).all() and (x == x.round()).all()
    # Five standard errors; rounding the shift moves the mean by at most 1/2.
    mean_error = 5 * (d.variance / draws).sqrt() + tensor([0.5, 0.0])
    assert ((x.mean(0) - d.mean).abs() < mean_error).all()
    assert ((x.var(0) / d.variance - 1).abs() < 5 * math.sqrt(2 / draws)).all()


@pytest.mark.parametrize("tol", [0.1, 0.01, 0.001, 0.0])
@pytest.mark.parametrize("n", [0.0, 1.0, 3.0, 1000.0])
def test_binomial_approximate_log_prob(tol: float, n: float) -> None:
    k = torch.linspace(0, n, int(n) + 1, dtype=torch.double)
    d = dist.Binomial(n, probs=tensor(0.3, dtype=torch.double))
    exact = torch.distributions.Binomial(n, probs=d.probs).log_prob(k)
    with settings.context(binomial_approx_log_prob_tol=tol):
        approximate = d.log_prob(k)
    error = (approximate - exact).abs().max()
    assert error <= max(tol, 1e-9)
    assert (error > 1e-6) == (tol >= 0.01)


# ---- others


def test_geometric_is_finite_at_extreme_logits() -> None:
    d = dist.Geometric(logits=tensor([-200.0, 200.0]))
    assert_close(d.log_prob(torch.zeros(2)), tensor([-200.0, 0.0]))
    assert_close(d.log_prob(torch.ones(2)), tensor([-200.0, -200.0]))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_sparse_poisson_agrees(counts: list[int]) -> None:
    rate = torch.linspace(0.1, 5.0, len(counts))
    value = tensor(counts, dtype=torch.float)
    dense, sparse = dist.Poisson(rate), dist.Poisson(rate, is_sparse=True)
    assert_close(sparse.log_prob(value), dense.log_prob(value))
    assert sparse.expand((2, len(counts))).is_sparse is True
    assert_close(sparse.expand((2, len(counts))).log_prob(value), dense.log_prob(value).expand(2, -1))


def test_uniform_support_is_not_broadcast() -> None:
    d = dist.Uniform(0.0, torch.ones(3)).expand((2, 3))
    assert d.support.lower_bound == 0.0 and d.support.upper_bound.shape == (3,)
    assert dist.Uniform.support.event_dim == 0  # type: ignore[attr-defined]
    assert dist.Uniform.infer_shapes(low=(), high=(3,)) == ((3,), ())


def test_log_normal_is_built_on_ours() -> None:
    d = dist.LogNormal(tensor([0.0, 1.0]), 1.0)
    assert type(d.base_dist) is dist.Normal
    assert type(d.expand((3, 2)).base_dist) is dist.Normal
    reference = torch.distributions.LogNormal(tensor([0.0, 1.0]), 1.0)
    assert_close(d.mean, reference.mean)
    assert_close(d.cdf(tensor(2.0)), reference.cdf(tensor(2.0)))
    assert_close(d.entropy(), reference.entropy())
    with pytest.raises(ValueError, match="scale"):
        dist.LogNormal(0.0, -1.0)
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(tensor([-1.0, 1.0]))


def test_half_cauchy_has_no_mass_below_zero() -> None:
    d = dist.HalfCauchy(torch.ones(2), validate_args=False)
    value = tensor([-1.0, 1.0], requires_grad=True)
    log_prob = d.log_prob(value)
    assert_close(log_prob, tensor([-torch.inf, math.log(1 / math.pi)]))
    log_prob[1].backward()
    assert value.grad is not None and value.grad.isfinite().all()
    assert d.log_prob(tensor(1.0)).shape == (2,)
    assert d.log_prob(torch.ones(3, 1)).shape == (3, 2)


def test_wishart_mean() -> None:
    torch.manual_seed(0)
    d = dist.Wishart(tensor(5.0), scale_tril=tensor([[1.0, 0.0], [0.5, 1.0]]))
    x = d.rsample(torch.Size((20_000,)))
    # Five standard errors.
    assert ((x.mean(0) - d.mean).abs() < 5 * (d.variance / 20_000).sqrt()).all()


@pytest.mark.parametrize("concentration", [-1.0, -0.5, 0.0, 0.5, 2.0])
def test_generalized_pareto_integrates_to_one(concentration: float) -> None:
    d = dist.GeneralizedPareto(*(tensor(v, dtype=torch.double) for v in (1.0, 2.0, concentration)))
    u = torch.linspace(0.05, 0.95, 10, dtype=torch.double)
    x = d.icdf(u).requires_grad_()
    (density,) = torch.autograd.grad(d.cdf(x).sum(), x)
    assert_close(d.log_prob(x), density.log())
    assert_close(d.cdf(x), u)


def test_normal_agrees_with_torch_in_all_dtypes_and_shapes() -> None:
    torch.manual_seed(0)
    for loc, scale, value in [
        (0.0, 1.0, tensor(0.5)),
        (torch.zeros(3), 2.0, tensor([0.0, 1.0, -1.0])),
        (torch.zeros(3, 1), torch.ones(2), torch.ones(4, 1, 1)),
        (torch.zeros(2, dtype=torch.double), torch.ones(2), torch.ones(2)),
        (torch.zeros(2), torch.ones(2), tensor([1, 2])),
        (torch.zeros(2), torch.ones(2), torch.ones(2, dtype=torch.double)),
    ]:
        ours, theirs = dist.Normal(loc, scale), torch.distributions.Normal(loc, scale)
        assert ours.batch_shape == theirs.batch_shape
        assert_close(ours.log_prob(value), theirs.log_prob(value))
        torch.manual_seed(1)
        x = ours.rsample(torch.Size((5,)))
        torch.manual_seed(1)
        assert_close(x, theirs.rsample(torch.Size((5,))))
    assert_close(dist.Normal(0.0, 1.0, validate_args=False).log_prob(0.5), tensor(-1.0439), atol=1e-4, rtol=0)


def test_normal_has_second_derivatives() -> None:
    def f(loc: torch.Tensor, scale: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return dist.Normal(loc, scale, validate_args=False).log_prob(x)

    args = [tensor([0.3, 1.0], dtype=torch.double), tensor([0.7, 2.0], dtype=torch.double)]
    args = [a.requires_grad_() for a in (*args, tensor([0.1, -2.0], dtype=torch.double))]
    assert torch.autograd.gradcheck(f, args)
    assert torch.autograd.gradgradcheck(f, args)


def test_normal_keeps_parameters_that_need_no_broadcasting() -> None:
    loc = torch.nn.Parameter(torch.zeros(3))
    assert dist.Normal(loc, torch.ones(3)).loc is loc


def test_a_delta_takes_a_number():
    assert dist.Delta(3.0).log_prob(torch.tensor([3.0, 2.0])).tolist() == [0.0, -torch.inf]
