"""The tail of importance weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fit_generalized_pareto(X: Tensor) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto distribution (Zhang and Stephens, 2009).

    The shape is pulled towards 1/2, as ten more observations would do (Vehtari, Gelman and Gabry, 2015).

    Args:
        X: draws above the threshold, minus the threshold, of shape ``(n,)``.

    Returns:
        ``(k, sigma)``, floats.

    Raises:
        ValueError: if ``X`` has another shape.
    """
    if not isinstance(X, Tensor) or X.dim() != 1:
        raise ValueError("Input X must be a 1-dimensional torch tensor")
    k, sigma = fit_generalized_paretos(X.double().sort().values)
    return float(k), float(sigma)


def fit_generalized_paretos(x: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`fit_generalized_pareto` for many samples at once.

    Args:
        x: of shape ``(..., n)``, double precision, in ascending order along the last dim.

    Returns:
        ``(k, sigma)`` of shape ``(...)``.
    """
    size = x.size(-1)
    grid_size = 30 + int(math.sqrt(size))
    j = torch.arange(1, grid_size + 1, dtype=torch.double, device=x.device)
    span = (1 - (grid_size / (j - 0.5)).sqrt()) / 3
    theta = 1 / x[..., -1:] + span / x[..., int(size / 4 - 0.5), None]
    shape = torch.log1p(-theta.unsqueeze(-1) * x.unsqueeze(-2)).mean(-1)
    weights = torch.softmax(size * (torch.log(-theta / shape) - shape - 1), -1)
    weights = torch.where(weights > 1e-30, weights, 0.0)
    mean = (theta * weights).sum(-1) / weights.sum(-1)
    k = torch.log1p(-mean.unsqueeze(-1) * x).mean(-1)
    return k * size / (size + 10.0) + 5.0 / (size + 10.0), -k / mean
