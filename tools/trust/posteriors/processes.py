"""Gaussian processes over one covariate: marginalised, and latent under counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def squared_exponential(x: Tensor, length: Tensor, height: Tensor, more: Tensor | float) -> Tensor:
    """Covariances of shape (N, N), with ``more`` on the diagonal."""
    apart = (x[:, None] - x[None, :]) / length
    return height**2 * (-0.5 * apart**2).exp() + more * torch.eye(len(x), dtype=x.dtype)


def gp_regression_data() -> Data:
    """A smooth curve at 100 points, with noise."""
    draw, x = stream(131), np.linspace(-5.0, 5.0, 100)
    return {"x": x, "y": np.sin(1.3 * x) + 0.3 * x + draw.normal(0.0, 0.4, 100)}


def gp_regression(x: Tensor, y: Tensor) -> None:
    """The curve integrated out; its scales are sampled."""
    length = ember.sample("length", dist.InverseGamma(5.0, 5.0))
    height = ember.sample("height", dist.HalfNormal(3.0))
    noise = ember.sample("noise", dist.HalfNormal(1.0))
    covariance = squared_exponential(x, length, height, noise**2)
    ember.sample("y", dist.MultivariateNormal(torch.zeros_like(x), covariance), obs=y)


def gp_counts_data() -> Data:
    """Counts at 20 points under a smooth log rate."""
    draw, x = stream(132), np.linspace(-4.0, 4.0, 20)
    return {"x": x, "count": draw.poisson(np.exp(2.0 + 1.2 * np.sin(x))).astype(float)}


def gp_counts(x: Tensor, count: Tensor) -> None:
    """The curve is latent, in coordinates whitened by its covariance."""
    length = ember.sample("length", dist.InverseGamma(5.0, 5.0))
    height = ember.sample("height", dist.HalfNormal(2.0))
    level = ember.sample("level", dist.Normal(0.0, 2.0))
    white = ember.sample("white", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    root = torch.linalg.cholesky(squared_exponential(x, length, height, 1e-6))
    curve = ember.deterministic("curve", level + root @ white)
    with ember.plate("points", len(x)):
        ember.sample("count", dist.Poisson(curve.exp()), obs=count)


POSTERIORS = {
    "gp_regression": Posterior(gp_regression, gp_regression_data),
    "gp_counts": Posterior(gp_counts, gp_counts_data),
}
