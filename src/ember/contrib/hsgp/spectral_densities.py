"""Spectral densities of kernels: how much of each frequency their processes have.

References:
    C. E. Rasmussen and C. K. I. Williams (2006), "Gaussian Processes for Machine Learning", chapter 4.
    G. Riutort-Mayol, P.-C. Bürkner, M. R. Andersen, A. Solin and A. Vehtari (2023), "Practical Hilbert space
    approximate Bayesian Gaussian processes for probabilistic programming", appendix B for the periodic
    kernel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ember.contrib.hsgp.laplacian import Ell, M, frequencies
from ember.errors import ModelError

Positive = float | Tensor
_NODES = 512
_SMALLEST = 1e-20


def spectral_density_squared_exponential(dim: int, w: Tensor, alpha: Positive, length: Positive) -> Tensor:
    """Compute the spectral density of ``alpha exp(-|x - x'|^2 / (2 length^2))``.

    Args:
        dim: of the points.
        w: frequencies, ``(m, dim)``.
        alpha: the variance of the process.
        length: its length, or that of each dim, ``(dim,)``.

    Returns:
        Shape ``(m,)``.

    >>> import torch
    >>> from ember.contrib.hsgp import spectral_density_squared_exponential
    >>> spectral_density_squared_exponential(1, torch.zeros(1, 1), 1.0, 1.0)  # sqrt(2 pi)
    tensor([2.5066])
    """
    squares, volume = _scaled(dim, w, length)
    return alpha * volume * math.pow(2 * math.pi, dim / 2) * torch.exp(-0.5 * squares)


def spectral_density_matern(dim: int, nu: float, w: Tensor, alpha: Positive, length: Positive) -> Tensor:
    """Compute the spectral density of the Matérn kernel of variance ``alpha``.

    Args:
        dim: of the points.
        nu: its smoothness, such as 1.5 or 2.5.
        w: frequencies, ``(m, dim)``.
        alpha: the variance of the process.
        length: its length, or that of each dim, ``(dim,)``.

    Returns:
        Shape ``(m,)``.

    Raises:
        ModelError: if ``nu`` is not positive.

    >>> import torch
    >>> from ember.contrib.hsgp import spectral_density_matern
    >>> spectral_density_matern(1, 0.5, torch.zeros(1, 1), 1.0, 1.0)  # the integral of exp(-|x|)
    tensor([2.])
    """
    if not nu > 0:
        raise ModelError(f"nu must be positive, got {nu}")
    squares, volume = _scaled(dim, w, length)
    log_constant = (
        dim / 2 * math.log(4 * math.pi) + math.lgamma(nu + dim / 2) - math.lgamma(nu) + nu * math.log(2 * nu)
    )
    return alpha * volume * math.exp(log_constant) * (2 * nu + squares) ** (-nu - dim / 2)


def diag_spectral_density_squared_exponential(
    alpha: Positive, length: Positive, ell: Ell, m: M, dim: int
) -> Tensor:
    """Compute :func:`spectral_density_squared_exponential` at the frequencies of the basis functions.

    Args:
        alpha: the variance of the process.
        length: its length, or that of each dim.
        ell: half the length of the box, or that of each side.
        m: basis functions of each dim.
        dim: the number of dims of the points.

    Returns:
        Shape ``(product of m,)``.

    >>> from ember.contrib.hsgp import diag_spectral_density_squared_exponential
    >>> diag_spectral_density_squared_exponential(1.0, 0.5, ell=1.5, m=10, dim=1).shape
    torch.Size([10])
    """
    w = _frequencies(ell, m, dim, alpha, length)
    return spectral_density_squared_exponential(dim, w, alpha, length)


def diag_spectral_density_matern(
    nu: float, alpha: Positive, length: Positive, ell: Ell, m: M, dim: int
) -> Tensor:
    """Compute :func:`spectral_density_matern` at the frequencies of the basis functions.

    Args:
        nu: the smoothness of the process.
        alpha: its variance.
        length: its length, or that of each dim.
        ell: half the length of the box, or that of each side.
        m: basis functions of each dim.
        dim: the number of dims of the points.

    Returns:
        Shape ``(product of m,)``.

    >>> from ember.contrib.hsgp import diag_spectral_density_matern
    >>> diag_spectral_density_matern(2.5, 1.0, 0.5, ell=1.5, m=[5, 4], dim=2).shape
    torch.Size([20])
    """
    w = _frequencies(ell, m, dim, alpha, length)
    return spectral_density_matern(dim, nu, w, alpha, length)


def diag_spectral_density_periodic(alpha: Positive, length: Positive, m: int) -> Tensor:
    """Return the variances of the cosines that make up ``alpha^2 exp(-2 sin^2(w0 (x - x') / 2) / length^2)``.

    These are ``2 alpha^2 exp(-a) I_j(a)`` with ``a = length^-2``, half of it for ``j = 0``. The Bessel
    functions are integrals over a period, which the trapezoidal rule gives to all digits where ``length`` is
    above 0.03.

    Args:
        alpha: the standard deviation of the process.
        length: its length, in angles.
        m: how many.

    Returns:
        Shape ``(m,)``; the sum over all ``j`` is ``alpha^2``.

    >>> from ember.contrib.hsgp import diag_spectral_density_periodic
    >>> diag_spectral_density_periodic(2.0, 1.0, 20).sum()
    tensor(4.)
    """
    length = torch.as_tensor(length)
    # Terms are small differences of large ones, so that single precision would leave noise.
    a = length.double().pow(-2).unsqueeze(-1)
    angles = torch.arange(_NODES, dtype=torch.float64, device=a.device) * (2 * math.pi / _NODES)
    orders = torch.arange(m, dtype=torch.float64, device=a.device)
    waves = torch.cos(orders.unsqueeze(-1) * angles) / _NODES
    bessel = (torch.exp(a * (torch.cos(angles) - 1)).unsqueeze(-2) * waves).sum(-1)
    twice = torch.where(orders > 0, 2.0, 1.0)
    found = (twice * bessel.clamp_min(_SMALLEST)).to(length.dtype)
    return (alpha.unsqueeze(-1) if isinstance(alpha, Tensor) else alpha) ** 2 * found


def _scaled(dim: int, w: Tensor, length: Positive) -> tuple[Tensor, Tensor]:
    """Squares of frequencies times lengths, ``(m,)``, and the volume of a box with the lengths as sides.

    Raises:
        ModelError: if there is not one length, nor one for each dim.
    """
    scale = torch.as_tensor(length, dtype=w.dtype if isinstance(length, float) else None)
    if dim == 1:
        return (w[..., 0] * scale).square(), scale
    scale = scale.expand(dim) if scale.dim() == 0 else scale
    if scale.shape[-1] != dim:
        raise ModelError(
            f"length must be one number, or {dim}, one for each dim; got the shape {tuple(scale.shape)}"
        )
    return (w * scale.unsqueeze(-2)).square().sum(-1), scale.prod(-1, keepdim=True)


def _frequencies(ell: Ell, m: M, dim: int, *params: Positive) -> Tensor:
    """Those of the basis functions, ``(product of m, dim)``, in the precision of the parameters that are tensors."""
    given = [param for param in params if isinstance(param, Tensor)]
    dtype = given[0].dtype if given else torch.get_default_dtype()
    w = frequencies(ell, m, dim, dtype).mT
    return w.to(given[0].device) if given else w
