"""Gauss-Hermite quadrature: points and weights for expectations over a standard normal variable."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["get_quad_rule"]

_BISECTIONS = 30
_NEWTON_STEPS = 6


def _functions(n: int, x: float) -> list[float]:
    """The orthonormal Hermite polynomials of degrees 0 to n at x, times exp(-x^2 / 4), which keeps them in range."""
    values = [0.0, math.exp(-x * x / 4)]
    for k in range(n):
        values.append((x * values[-1] - math.sqrt(k) * values[-2]) / math.sqrt(k + 1))
    return values[1:]


def _roots_below(n: int, x: float) -> int:
    """How many roots of the polynomial of degree n are below x: the negative pivots of its Jacobi matrix minus x."""
    count, pivot = 0, 1.0
    for k in range(n):
        pivot = -x - (k / pivot if k else 0.0)
        if pivot == 0.0:
            pivot = -1e-300
        count += pivot < 0
    return count


def _root(n: int, place: int) -> float:
    """The root of that place, counted from below."""
    low, high = -2.0 * math.sqrt(n), 2.0 * math.sqrt(n)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if _roots_below(n, middle) > place else (middle, high)
    x = (low + high) / 2
    for _ in range(_NEWTON_STEPS):
        *_, before, last = _functions(n, x)
        x -= last / (math.sqrt(n) * before)  # the derivative is sqrt(n) times the one before
    return x


@lru_cache(maxsize=64)
def _rule(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    upper = [_root(n, place) for place in range((n + 1) // 2, n)]
    points = [-x for x in reversed(upper)] + [0.0] * (n % 2) + upper
    # Christoffel's weights: one over the sum of squares of all polynomials of lower degree.
    logs = [-x * x / 2 - math.log(sum(f * f for f in _functions(n - 1, x))) for x in points]
    return tuple(points), tuple(logs)


def get_quad_rule(num_quad: int, prototype_tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The points and the logarithms of the weights of a rule that is exact for polynomials of degree ``2 num_quad - 1``.

    Args:
        num_quad: how many points, at least one.
        prototype_tensor: the results have its dtype and device.

    References:
        G. Golub, J. Welsch (1969), "Calculation of Gauss Quadrature Rules".

    >>> points, log_weights = get_quad_rule(8, torch.zeros(0))
    >>> round(float((log_weights.exp() * points**4).sum()), 3)  # the fourth moment
    3.0
    """
    if num_quad < 1:
        raise ValueError(f"a rule has at least one point, but num_quad is {num_quad}")
    points, logs = _rule(num_quad)
    return torch.tensor(points, dtype=torch.float64).to(prototype_tensor), torch.tensor(
        logs, dtype=torch.float64
    ).to(prototype_tensor)
