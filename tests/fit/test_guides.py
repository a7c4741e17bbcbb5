"""The guide that a fit leaves: of moments that weights give, whatever these are like."""

from __future__ import annotations

import torch

import ember
import ember.distributions as dist
from ember.fit.guides import moments_of, normal_guide
from ember.params import ParamStoreDict


def model() -> None:
    ember.sample("z", dist.Normal(torch.zeros(20), 1.0).to_event(1))


def test_it_has_the_moments_of_the_rows() -> None:
    u = torch.randn(5000, 20, dtype=torch.float64) @ torch.randn(20, 20, dtype=torch.float64)
    mean, covariance = moments_of(u, torch.full((5000,), -torch.tensor(5000.0).log().item()))
    guide = normal_guide(model, (), {}, ParamStoreDict(), (mean, covariance))
    root = guide.scale.unsqueeze(-1) * guide.scale_tril
    torch.testing.assert_close((root @ root.mT).double(), covariance, rtol=1e-3, atol=1e-3)


def test_weight_on_a_few_rows_gives_a_guide_too() -> None:
    """The covariance of 13 rows in 20 dims has no factor: a poor fit ended in an error of torch."""
    u = torch.randn(5000, 20, dtype=torch.float64)
    log_weights = torch.full((5000,), -800.0, dtype=torch.float64)
    log_weights[:13] = -torch.tensor(13.0).log().item()
    guide = normal_guide(model, (), {}, ParamStoreDict(), moments_of(u, log_weights))
    assert guide.scale.isfinite().all() and (guide.scale > 0).all() and guide.scale_tril.isfinite().all()
    with torch.no_grad():
        assert guide()["z"].isfinite().all()
    one = torch.full((5000,), -torch.inf, dtype=torch.float64)
    one[0] = 0.0
    guide = normal_guide(model, (), {}, ParamStoreDict(), moments_of(u, one))
    assert guide.scale.isfinite().all() and (guide.scale > 0).all()
