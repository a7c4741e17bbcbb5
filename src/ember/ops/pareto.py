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
    x = X.double().sort().values
    size = x.size(0)
    grid_size = 30 + int(math.sqrt(size))
    quartile = x[int(size / 4 - 0.5)]
    j = torch.arange(1, grid_size + 1, dtype=torch.double, device=x.device)
    theta = 1 / x[-1] + (1 - (grid_size / (j - 0.5)).sqrt()) / (3 * quartile)
    shape = torch.log1p(-theta.unsqueeze(-1) * x).mean(-1)
    profile = size * (torch.log(-theta / shape) - shape - 1)
    weights = torch.softmax(profile, 0)
    weights = torch.where(weights > 1e-30, weights, 0.0)
    mean = float((theta * weights / weights.sum()).sum())
    k = float(torch.log1p(-mean * x).mean())
    return k * size / (size + 10.0) + 5.0 / (size + 10.0), -k / mean
