"""The tail of importance weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ULPS = 8


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


def tail_shape(log_weights: Tensor) -> float:
    """k-hat: the shape of the tail of importance weights (Vehtari, Simpson, Gelman, Yao and Gabry, 2024).

    The tail is what lies above the ``min(n / 5, 3 sqrt(n))`` largest of ``n`` weights.

    Args:
        log_weights: of shape ``(n,)``, up to a constant. Minus infinity is a weight of zero.

    Returns:
        k-hat, a float: minus infinity if the largest weights are equal up to rounding in their dtype; infinity if fewer than 10
        lie in the tail, or if a weight is NaN or infinite, or all are zero.

    Raises:
        ValueError: if ``log_weights`` has another shape.

    >>> exponential = -torch.log1p(-(torch.arange(4000) + 0.5) / 4000)
    >>> abs(tail_shape(0.5 * exponential) - 0.5) < 0.05
    True
    """
    if log_weights.dim() != 1:
        raise ValueError(f"log_weights must be of shape (n,), got {tuple(log_weights.shape)}")
    size = len(log_weights)
    top = log_weights.max() if size else torch.tensor(-math.inf)
    if not math.isfinite(top) or log_weights.isnan().any():
        return math.inf
    ordered = (log_weights.double() - top.double()).sort().values
    tail_size = math.ceil(min(0.2 * size, 3.0 * math.sqrt(size)))
    cutoff = max(math.log(1.0e-15), float(ordered[max(-tail_size - 1, -size)]))
    rounding = (
        _ULPS
        * torch.finfo(log_weights.dtype).eps
        * (1.0 + float(log_weights.nan_to_num(neginf=0.0).abs().max()))
    )
    if size >= 10 and cutoff > -rounding:
        return -math.inf
    tail = ordered[ordered > cutoff]
    if len(tail) < 10:
        return math.inf
    return fit_generalized_pareto(tail.exp() - math.exp(cutoff))[0]
