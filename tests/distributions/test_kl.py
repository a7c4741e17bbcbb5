"""Closed-form divergences against torch, Monte Carlo and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import tensor
from torch.distributions import kl_divergence
from torch.testing import assert_close

import ember.distributions as dist

LOC = tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
SCALE = tensor([[1.0, 0.5], [0.3, 2.0], [1.5, 1.0]])
TRIL = tensor([[1.0, 0.0], [0.7, 0.8]])


def monte_carlo(p: Any, q: Any, draws: int = 50_000) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = p.sample(torch.Size((draws,)))
    log_ratio = p.log_prob(x) - q.log_prob(x)
    return log_ratio.mean(0), 5 * log_ratio.std(0) / draws**0.5


@pytest.mark.parametrize("batched", [False, True])
def test_delta(batched: bool) -> None:
    q = dist.Normal(LOC, SCALE)
    p = dist.Delta(torch.zeros(3, 2) if batched else torch.zeros(2))
    assert_close(kl_divergence(p, q), -q.log_prob(torch.zeros(3, 2)))
    p = dist.Delta(torch.zeros(3, 2), event_dim=1)
    assert_close(kl_divergence(p, q.to_event(1)), -q.log_prob(p.v).sum(-1))
    p = dist.Delta(torch.zeros(3, 2), log_density=torch.ones(3), event_dim=1)
    assert_close(kl_divergence(p, q.to_event(1)), 1 - q.log_prob(p.v).sum(-1))


@pytest.mark.parametrize(("n_p", "n_q"), [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_independent(n_p: int, n_q: int) -> None:
    base_p, base_q = dist.Normal(LOC, SCALE), dist.Normal(LOC + 1, 1.0)
    p, q = base_p.to_event(n_p), base_q.to_event(n_q)
    if n_p != n_q:
        with pytest.raises(NotImplementedError):
            kl_divergence(p, q)
        return
    assert_close(kl_divergence(p, q), kl_divergence(base_p, base_q).sum(tuple(range(-n_p, 0))))


def test_independent_of_multivariate() -> None:
    # The base of q already has the event dim that p has to make.
    p = dist.Normal(LOC, SCALE).to_event(2)
    q = dist.MultivariateNormal(LOC, scale_tril=TRIL).to_event(1)
    expected = kl_divergence(dist.Normal(LOC, SCALE).to_event(1), q.base_dist).sum(-1)
    assert_close(kl_divergence(p, q), expected)


def test_torchs_own_independent_mixes_with_ours() -> None:
    ours = dist.Normal(LOC, SCALE).to_event(1)
    theirs = torch.distributions.Independent(torch.distributions.Normal(LOC + 1, 1.0), 1)
    expected = kl_divergence(theirs.base_dist, ours.base_dist).sum(-1)
    assert_close(kl_divergence(theirs, ours), expected)
    assert kl_divergence(ours, theirs).shape == (3,)


def test_diagonal_against_full_normal() -> None:
    p, q = dist.Normal(LOC, SCALE).to_event(1), dist.MultivariateNormal(LOC + 0.5, scale_tril=TRIL)
    exact = kl_divergence(dist.MultivariateNormal(LOC, scale_tril=SCALE.diag_embed()), q)
    assert_close(kl_divergence(p, q), exact)
    mean, error = monte_carlo(p, q)
    assert ((kl_divergence(p, q) - mean).abs() < error).all()


def test_point_against_full_normal() -> None:
    q = dist.MultivariateNormal(LOC + 0.5, scale_tril=TRIL)
    for p in (dist.Delta(LOC).to_event(1), dist.Delta(LOC, event_dim=1)):
        assert_close(kl_divergence(p, q), -q.log_prob(LOC))
    with pytest.raises(NotImplementedError, match="no closed form"):
        kl_divergence(dist.Laplace(LOC, SCALE).to_event(1), q)


@pytest.mark.parametrize("p_mask", [True, False, tensor([True, True, False])])
@pytest.mark.parametrize("q_mask", [True, False, tensor([True, False, False])])
def test_masked(p_mask: Any, q_mask: Any) -> None:
    p, q = dist.Normal(torch.zeros(3), 1.0), dist.Normal(torch.ones(3), 2.0)
    kl = kl_divergence(p.mask(p_mask), q.mask(q_mask))
    if p_mask is False or q_mask is False:
        assert type(kl) is float and kl == 0.0
    else:
        both = torch.as_tensor(p_mask) & torch.as_tensor(q_mask)
        assert_close(kl, kl_divergence(p, q) * both)
        assert kl.shape == (3,)


def test_same_mask_object() -> None:
    mask = tensor([True, False])
    p, q = dist.Normal(torch.zeros(2), 1.0), dist.Normal(torch.ones(2), 2.0)
    assert_close(kl_divergence(p.mask(mask), q.mask(mask)), kl_divergence(p, q) * mask)


def test_transformed_is_torchs() -> None:
    p, q = dist.LogNormal(LOC, SCALE), dist.LogNormal(LOC + 1, 1.0)
    assert_close(kl_divergence(p, q), kl_divergence(p.base_dist, q.base_dist))


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (dist.Normal(LOC, SCALE), dist.Normal(LOC - 1, 2.0)),
        (dist.Gamma(SCALE, SCALE), dist.Gamma(SCALE + 1, 1.0)),
        (dist.Beta(SCALE + 1, SCALE + 1), dist.Beta(SCALE + 2, 1.5)),
        (dist.Dirichlet(SCALE + 1), dist.Dirichlet(SCALE + 2)),
        (dist.Bernoulli(probs=SCALE / 3), dist.Bernoulli(probs=SCALE / 4)),
        (dist.Categorical(probs=SCALE), dist.Categorical(probs=SCALE + 1)),
        (dist.Uniform(LOC, LOC + 1), dist.Uniform(LOC - 1, LOC + 2)),
        (dist.Exponential(SCALE), dist.Gamma(SCALE, SCALE)),
    ],
    ids=lambda d: type(d).__name__,
)
def test_torchs_divergences_take_our_classes(p: Any, q: Any) -> None:
    mean, error = monte_carlo(p, q)
    kl = kl_divergence(p, q)
    assert kl.shape == p.batch_shape
    assert ((kl - mean).abs() <= error + 1e-6).all()
