"""Gaussian processes as sums of basis functions with independent normal weights.

References:
    A. Solin and S. Särkkä (2020), "Hilbert space methods for reduced-rank Gaussian process regression".
    G. Riutort-Mayol, P.-C. Bürkner, M. R. Andersen, A. Solin and A. Vehtari (2023), "Practical Hilbert space
    approximate Bayesian Gaussian processes for probabilistic programming".
"""

from __future__ import annotations

from torch import Tensor

from ember import distributions as dist
from ember.contrib.hsgp.laplacian import Ell, M, eigenfunctions, eigenfunctions_periodic, with_dim
from ember.contrib.hsgp.spectral_densities import (
    Positive,
    diag_spectral_density_matern,
    diag_spectral_density_periodic,
    diag_spectral_density_squared_exponential,
)
from ember.primitives import plate, sample


def linear_approximation(phi: Tensor, spd: Tensor, m: int, non_centered: bool = True) -> Tensor:
    """Draw a process at points, from basis functions there.

    Weights are drawn at the site ``"beta"``, in the plate ``"basis"``.

    Args:
        phi: basis functions at the points, ``(*batch, m)``.
        spd: standard deviations of their weights: roots of the spectral density, ``(m,)``.
        m: how many basis functions there are.
        non_centered: draw standard normals and scale them; else draw the weights themselves, which suits data
            that tell much.

    Returns:
        Values of the process, ``(*batch,)``.

    >>> import torch
    >>> from ember.contrib.hsgp import linear_approximation
    >>> linear_approximation(torch.ones(7, 3), torch.ones(3), m=3).shape
    torch.Size([7])
    """
    one = phi.new_ones(())
    with plate("basis", m):
        beta: Tensor = sample("beta", dist.Normal(0.0 * one, one if non_centered else spd))
    # Weights from the left, so that dims of many samples stay there.
    return (spd * beta if non_centered else beta) @ phi.mT


def _like(x: Tensor, value: Positive) -> Tensor:
    """A parameter as a tensor; numbers in the precision of the points."""
    return value if isinstance(value, Tensor) else x.new_tensor(value)


def hsgp_squared_exponential(
    x: Tensor, alpha: Positive, length: Positive, ell: Ell, m: M, non_centered: bool = True
) -> Tensor:
    """Draw a process with the kernel ``alpha exp(-|x - x'|^2 / (2 length^2))`` at points.

    It takes points times basis functions to compute, where exact processes take the cube of the points. It is
    near the exact one where ``ell`` is some 1.2 times the largest point and 3 lengths more than it, and ``m``
    is above ``3 ell / length``.

    Args:
        x: points, ``(n,)`` or ``(n, dim)``, around 0.
        alpha: the variance of the process.
        length: its length, or that of each dim, ``(dim,)``.
        ell: half the length of the box around the points, or that of each side.
        m: basis functions of each dim; all of them are the product.
        non_centered: see :func:`linear_approximation`.

    Returns:
        Shape ``(n,)``.

    Raises:
        ModelError: for points outside of the box, or values that do not fit the dims.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.contrib.hsgp import hsgp_squared_exponential
    >>> def model(x, y):
    ...     length = ember.sample("length", dist.LogNormal(0.0, 0.5))
    ...     f = hsgp_squared_exponential(x, 1.0, length, ell=1.5, m=10)
    ...     with ember.plate("rows", len(x)):
    ...         ember.sample("y", dist.Normal(f, 0.1), obs=y)
    >>> x = torch.linspace(-1.0, 1.0, 50)
    >>> ember.poutine.trace(model).get_trace(x, torch.sin(3 * x)).nodes["beta"].value.shape
    torch.Size([10])
    """
    phi = eigenfunctions(x, ell, m)
    dim = with_dim(x).shape[-1]
    spd = diag_spectral_density_squared_exponential(alpha, _like(x, length), ell, m, dim).sqrt()
    return linear_approximation(phi, spd.to(phi.dtype), phi.shape[-1], non_centered)


def hsgp_matern(
    x: Tensor, nu: float, alpha: Positive, length: Positive, ell: Ell, m: M, non_centered: bool = True
) -> Tensor:
    """Draw a process with a Matérn kernel at points; see :func:`hsgp_squared_exponential`.

    Args:
        x: points, ``(n,)`` or ``(n, dim)``, around 0.
        nu: the smoothness, such as 1.5 or 2.5; rough processes need more basis functions.
        alpha: the variance of the process.
        length: its length, or that of each dim, ``(dim,)``.
        ell: half the length of the box around the points, or that of each side.
        m: basis functions of each dim.
        non_centered: see :func:`linear_approximation`.

    Returns:
        Shape ``(n,)``.

    Raises:
        ModelError: for points outside of the box, values that do not fit the dims, or ``nu`` that is not
            positive.

    >>> import torch
    >>> from ember.contrib.hsgp import hsgp_matern
    >>> hsgp_matern(torch.linspace(-1.0, 1.0, 50), nu=2.5, alpha=1.0, length=0.5, ell=1.5, m=15).shape
    torch.Size([50])
    """
    phi = eigenfunctions(x, ell, m)
    dim = with_dim(x).shape[-1]
    spd = diag_spectral_density_matern(nu, alpha, _like(x, length), ell, m, dim).sqrt()
    return linear_approximation(phi, spd.to(phi.dtype), phi.shape[-1], non_centered)


def hsgp_periodic_non_centered(x: Tensor, alpha: Positive, length: Positive, w0: Positive, m: int) -> Tensor:
    """Draw a process with the kernel ``alpha^2 exp(-2 sin^2(w0 (x - x') / 2) / length^2)`` at points.

    Weights are standard normals at the sites ``"beta_cos"`` (``m`` of them) and ``"beta_sin"`` (``m - 1``).

    Args:
        x: points of one dim, ``(n,)``; there is no box.
        alpha: the standard deviation of the process.
        length: its length, in angles: more than 0.5 needs few multiples.
        w0: the frequency, ``2 pi`` by the period.
        m: how many multiples of it, from 0 on.

    Returns:
        Shape ``(n,)``.

    Raises:
        ModelError: for points of several dims, or ``m`` below 1.

    >>> import math, torch
    >>> from ember.contrib.hsgp import hsgp_periodic_non_centered
    >>> week = torch.arange(70.0)
    >>> hsgp_periodic_non_centered(week, 1.0, 1.0, w0=2 * math.pi / 7, m=5).shape
    torch.Size([70])
    """
    cosines, sines = eigenfunctions_periodic(x, w0, m)
    scale = diag_spectral_density_periodic(alpha, _like(x, length), m).sqrt().to(cosines.dtype)
    unit = dist.Normal(cosines.new_zeros(()), 1.0)
    with plate("cos_basis", m):
        beta_cos: Tensor = sample("beta_cos", unit)
    result = (scale * beta_cos) @ cosines.mT
    if m == 1:
        return result
    with plate("sin_basis", m - 1):
        beta_sin: Tensor = sample("beta_sin", unit)
    return result + (scale[..., 1:] * beta_sin) @ sines[..., 1:].mT
