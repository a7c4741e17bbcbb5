r"""The density of stable variables, as an integral over the angle of the sampler of Chambers, Mallows and Stuck.

Given the angle :math:`V`, a positive variable is a power of the exponential waiting time, so that its density is
the mean over angles of a density that is known. The integral is taken by Gauss-Legendre quadrature (J. P. Nolan, 1997,
"Numerical calculation of stable densities and distribution functions").
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

_HALF_PI = math.pi / 2
_num_points = 501
#: Distances from stability 1, and from the value at which the integral degenerates, that are interpolated over.
_NEAR_ONE = 0.05
_NEAR_ZERO = 0.01
_NEAR_ZERO_DENSITY = 0.1
_SMALLEST_LOG, _LARGEST_LOG = -307.0, 308.0


def set_integrator(num_points: int) -> None:
    """Choose how many points all later densities are integrated with; 501 at first."""
    global _num_points
    _num_points = num_points


@functools.cache
def _quadrature(num_points: int) -> tuple[Tensor, Tensor]:
    """Nodes and log weights of Gauss-Legendre quadrature on (0, 1), from the eigenvalues of Jacobi's matrix
    (G. H. Golub, J. H. Welsch, 1969, "Calculation of Gauss quadrature rules")."""
    k = torch.arange(1, num_points, dtype=torch.float64)
    off_diagonal = k / (4 * k * k - 1).sqrt()
    jacobi = torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1)
    nodes, vectors = torch.linalg.eigh(jacobi)
    return (nodes + 1) / 2, 2 * vectors[0].abs().log()


def standard_stable_log_prob(stability: Tensor, skew: Tensor, z: Tensor, coords: str) -> Tensor:
    """The log density at ``z`` for location 0 and scale 1, in double precision.

    Args:
        stability: in (0, 2].
        skew: in [-1, 1].
        z: the value.
        coords: ``"S0"`` or ``"S"``.

    Raises:
        ValueError: for other coords.
    """
    alpha, beta, z = torch.broadcast_tensors(stability.double(), skew.double(), z.double())  # type: ignore[no-untyped-call]
    if coords == "S":
        at_one = alpha == 1
        shift = beta * (_HALF_PI * torch.where(at_one, 0.5, alpha)).tan()
        z = torch.where(at_one, z, z - shift)
    elif coords != "S0":
        raise ValueError(f"Unknown coords: {coords}")
    near = (alpha - 1).abs() < _NEAR_ONE
    above = _log_prob_off_one(torch.where(near, 1 + _NEAR_ONE, alpha), beta, z)
    below = _log_prob_off_one(torch.where(near, 1 - _NEAR_ONE, alpha), beta, z)
    return _mix(near, (alpha - 1) / (2 * _NEAR_ONE) + 0.5, below, above)


def _mix(near: Tensor, weight: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Densities interpolated where ``near``; elsewhere ``upper``."""
    weight = torch.where(near, weight, 0.5).clamp(1e-15, 1 - 1e-15)
    mixed = torch.logaddexp(lower + (1 - weight).log(), upper + weight.log())
    return torch.where(near, mixed, upper)


def _log_prob_off_one(alpha: Tensor, beta: Tensor, z: Tensor) -> Tensor:
    z = z + beta * (_HALF_PI * alpha).tan()
    at_zero = (1 + alpha.reciprocal()).lgamma().exp() / math.pi
    radius = torch.minimum(_NEAR_ZERO * alpha / (1 - alpha).abs(), _NEAR_ZERO_DENSITY / at_zero).detach()
    near = z.abs() < radius
    upper = _log_prob_off_zero(alpha, beta, torch.where(near, radius, z))
    lower = _log_prob_off_zero(alpha, beta, torch.where(near, -radius, z))
    return _mix(near, z / (2 * radius) + 0.5, lower, upper)


def _log_prob_off_zero(alpha: Tensor, beta: Tensor, z: Tensor) -> Tensor:
    # Negative values are positive ones of the mirrored distribution.
    sign = torch.where(z < 0, -1.0, 1.0)
    z, beta = z.abs(), beta * sign
    start = -(beta * (_HALF_PI * alpha).tan()).atan() / alpha
    nodes, log_weights = _quadrature(_num_points)
    nodes, log_weights = nodes.to(z.device), log_weights.to(z.device)
    shape = (-1,) + (1,) * z.dim()
    angle = start + (_HALF_PI - start) * nodes.reshape(shape)
    integrand = _log_prob_given_angle(angle, alpha, beta, z) + log_weights.reshape(shape)
    width = _HALF_PI - start
    # Fully skewed variables with a stability below 1 have one sign; the other has no angles.
    outside = width < 1e-12
    log_prob = integrand.logsumexp(0) + torch.where(outside, 1.0, width).log() - math.log(math.pi)
    return torch.where(outside, -math.inf, log_prob)


def _log_prob_given_angle(angle: Tensor, alpha: Tensor, beta: Tensor, z: Tensor) -> Tensor:
    """The log density of a positive value given the angle: it is a power of the waiting time ``w``."""
    eps = torch.finfo(angle.dtype).eps
    angle = angle.clamp(min=2 * eps - _HALF_PI, max=_HALF_PI - 2 * eps)
    atan_b = (beta * (_HALF_PI * alpha).tan()).atan()
    turned = atan_b - _HALF_PI * alpha + alpha * (angle + _HALF_PI)
    cos = angle.cos()
    log_w = (
        atan_b.cos().log() / (alpha - 1)
        + (z * cos / turned.sin()).log() * (alpha / (alpha - 1))
        + ((turned - angle).cos() / cos).log()
    )
    log_w = log_w.clamp(_SMALLEST_LOG, _LARGEST_LOG)
    log_density = log_w - log_w.exp() + (alpha / (z * (alpha - 1))).abs().log()
    return log_density.clamp(min=_SMALLEST_LOG, max=_LARGEST_LOG)
