r"""The density of stable variables, as an integral over the angle of the sampler of Chambers, Mallows and Stuck.

Given the angle :math:`V`, a positive variable is a power of the exponential waiting time, so that its density is
the mean over angles of a density that is known. The integral is taken by Gauss-Legendre quadrature (J. P. Nolan, 1997,
"Numerical calculation of stable densities and distribution functions").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

_HALF_PI = math.pi / 2
_num_points = 501
#: Distances from stability 1, and from the value at which the integral degenerates, that are interpolated over.
alpha_near_one_tolerance = 0.05
value_near_zero_tolerance_alpha = 0.01
value_near_zero_tolerance_density = 0.1
finfo = torch.finfo(torch.float64)
#: Bounds of the logarithms inside of the integral; Pyro's, which are those to base ten.
MIN_LOG, MAX_LOG = math.log10(finfo.tiny), math.log10(finfo.max)

Integrand = Callable[[Tensor], Tensor]


def set_integrator(num_points: int) -> None:
    """Choose how many points all later densities are integrated with; 501 at first."""
    global _num_points
    _num_points = num_points


@cache
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
    near = (alpha - 1).abs() < alpha_near_one_tolerance
    above = _log_prob_off_one(torch.where(near, 1 + alpha_near_one_tolerance, alpha), beta, z)
    below = _log_prob_off_one(torch.where(near, 1 - alpha_near_one_tolerance, alpha), beta, z)
    return _mix(near, (alpha - 1) / (2 * alpha_near_one_tolerance) + 0.5, below, above)


def _mix(near: Tensor, weight: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Densities interpolated where ``near``; elsewhere ``upper``."""
    weight = torch.where(near, weight, 0.5).clamp(1e-15, 1 - 1e-15)
    mixed = torch.logaddexp(lower + (1 - weight).log(), upper + weight.log())
    return torch.where(near, mixed, upper)


def create_integrator(num_points: int) -> Callable[[Integrand, Tensor], Tensor]:
    """A quadrature rule for integrands that are given by their logarithms.

    Args:
        num_points: how many nodes of Gauss and Legendre it has.

    Returns:
        A function ``(fn, domain)``. ``domain`` is the two ends of intervals, stacked on the left. ``fn``
            takes the nodes, in double precision, of shape ``(num_points,) + domain.shape[1:]``. The result
            has the shape ``domain.shape[1:]``: the logarithm of the integral.

    >>> exp = create_integrator(20)
    >>> round(exp(lambda x: x, torch.tensor([0.0, 1.0])).exp().item(), 6)  # e - 1
    1.718282
    """
    nodes_there, log_weights_there = _quadrature(num_points)

    def integrate(fn: Integrand, domain: Tensor) -> Tensor:
        start, end = domain[0], domain[1]
        shape = (-1,) + (1,) * start.dim()
        nodes, log_weights = (x.to(start.device).reshape(shape) for x in (nodes_there, log_weights_there))
        width = end - start
        # Where nothing is left to integrate, the logarithm is that of zero.
        empty = width < 1e-12
        total = (fn(start + width * nodes) + log_weights).logsumexp(0) + torch.where(empty, 1.0, width).log()
        return torch.where(empty, -math.inf, total)

    return integrate


def integrate(fn: Integrand, domain: Tensor) -> Tensor:
    """The logarithm of the integral of ``exp(fn)``, by the rule that :func:`set_integrator` chose.

    Args:
        fn: as in :func:`create_integrator`.
        domain: as there.
    """
    return create_integrator(_num_points)(fn, domain)


def _log_prob_off_one(alpha: Tensor, beta: Tensor, z: Tensor) -> Tensor:
    z = z + beta * (_HALF_PI * alpha).tan()
    at_zero = (1 + alpha.reciprocal()).lgamma().exp() / math.pi
    farthest = value_near_zero_tolerance_alpha * alpha / (1 - alpha).abs()
    radius = torch.minimum(farthest, value_near_zero_tolerance_density / at_zero).detach()
    near = z.abs() < radius
    upper = _log_prob_off_zero(alpha, beta, torch.where(near, radius, z))
    lower = _log_prob_off_zero(alpha, beta, torch.where(near, -radius, z))
    return _mix(near, z / (2 * radius) + 0.5, lower, upper)


def _log_prob_off_zero(alpha: Tensor, beta: Tensor, z: Tensor) -> Tensor:
    # Negative values are positive ones of the mirrored distribution.
    sign = torch.where(z < 0, -1.0, 1.0)
    z, beta = z.abs(), beta * sign
    start = -(beta * (_HALF_PI * alpha).tan()).atan() / alpha
    # Fully skewed variables with a stability below 1 have one sign; the other has no angles.
    domain = torch.stack([start, torch.full_like(start, _HALF_PI)])
    return integrate(partial(_log_prob_given_angle, alpha=alpha, beta=beta, z=z), domain) - math.log(math.pi)


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
    log_w = log_w.clamp(MIN_LOG, MAX_LOG)
    log_density = log_w - log_w.exp() + (alpha / (z * (alpha - 1))).abs().log()
    return log_density.clamp(min=MIN_LOG, max=MAX_LOG)
