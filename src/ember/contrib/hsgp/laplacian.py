"""Eigenvalues and eigenfunctions of the Laplacian on a box with zero at its border, and on a circle.

References:
    A. Solin and S. Särkkä (2020), "Hilbert space methods for reduced-rank Gaussian process regression".
    G. Riutort-Mayol, P.-C. Bürkner, M. R. Andersen, A. Solin and A. Vehtari (2023), "Practical Hilbert space
    approximate Bayesian Gaussian processes for probabilistic programming".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ember.capture.recording.value_guard import is_recording
from ember.errors import ModelError
from ember.infer.traces.validation import is_validation_enabled

Ell = float | Sequence[float]
"""Half the length of a box, or that of each of its sides."""
M = int | Sequence[int]
"""How many basis functions a dim has, or each of the dims."""


def eigenindices(m: M, dim: int) -> Tensor:
    """Say which basis function of each dim makes up each of all.

    The result has the shape ``(dim, product of m)``, the last dim fastest.

    Args:
        m: basis functions of each dim.
        dim: how many dims there are.

    Raises:
        ModelError: if the numbers of entries and of dims differ, or one is below 1.

    >>> from ember.contrib.hsgp import eigenindices
    >>> eigenindices([2, 3], 2)
    tensor([[1, 1, 1, 2, 2, 2],
            [1, 2, 3, 1, 2, 3]])
    """
    counts = [m] * dim if isinstance(m, int) else list(m)
    if len(counts) != dim or any(count < 1 for count in counts):
        raise ModelError(f"m must be a positive integer, or {dim} of them, one for each dim of x; got {m!r}")
    grids = torch.meshgrid(*(torch.arange(1, count + 1) for count in counts), indexing="ij")
    return torch.stack([grid.reshape(-1) for grid in grids])


def sqrt_eigenvalues(ell: Ell, m: M, dim: int) -> Tensor:
    """Square roots of the eigenvalues: the frequencies ``pi j / (2 ell)``, shape ``(dim, product of m)``.

    Args:
        ell: half the length of the box, or that of each side.
        m: basis functions of each dim.
        dim: how many dims there are.

    Raises:
        ModelError: for values that do not fit the dims, or are not positive.

    >>> import torch
    >>> from ember.contrib.hsgp import sqrt_eigenvalues
    >>> sqrt_eigenvalues(2.0, 3, 1) * 4 / torch.pi
    tensor([[1., 2., 3.]])
    """
    return frequencies(ell, m, dim, torch.get_default_dtype())


def frequencies(ell: Ell, m: M, dim: int, dtype: torch.dtype) -> Tensor:
    """:func:`sqrt_eigenvalues` in a precision."""
    sides = torch.tensor(sides_of(ell, dim), dtype=torch.float64).unsqueeze(-1)
    return (eigenindices(m, dim) * math.pi / (2 * sides)).to(dtype)


def eigenfunctions(x: Tensor, ell: Ell, m: M) -> Tensor:
    """Return the basis functions at points: ``prod sin(pi j (x + ell) / (2 ell)) / sqrt(ell)`` over the dims.

    Args:
        x: points, ``(*batch, dim)``, or ``(n,)`` of one dim. All lie within ``(-ell, ell)``.
        ell: half the length of the box, or that of each side; some 1.2 times the largest point at least.
        m: basis functions of each dim.

    Returns:
        Shape ``(*batch, product of m)``.

    Raises:
        ModelError: for points outside of the box (under validation), or values that do not fit the dims.

    >>> import torch
    >>> from ember.contrib.hsgp import eigenfunctions
    >>> eigenfunctions(torch.zeros(1), 1.0, 4).round(decimals=3).abs()
    tensor([[1., 0., 1., 0.]])
    """
    points = with_dim(x)
    dim = points.shape[-1]
    sides = points.new_tensor(sides_of(ell, dim))
    if is_validation_enabled() and not is_recording() and bool((points.abs() > sides).any()):
        raise ModelError(
            f"x reaches {float(points.abs().max()):.4g}, outside of the box of half length ell={ell}: there the "
            "approximation means nothing\nThe way out: centre x, and give an ell of 1.2 times its largest value or more."
        )
    waves = frequencies(ell, m, dim, points.dtype).to(points.device)
    waves = torch.sin((points + sides).unsqueeze(-1) * waves) / sides.sqrt().unsqueeze(-1)
    return waves.prod(-2)


def eigenfunctions_periodic(x: Tensor, w0: float | Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Compute cosines and sines of the multiples of a frequency.

    They are ``cos(j w0 x)`` and ``sin(j w0 x)``, ``j`` from 0 to ``m - 1``.

    Args:
        x: points of one dim, ``(n,)``.
        w0: the frequency, ``2 pi`` by the period.
        m: how many multiples.

    Returns:
        Two tensors of shape ``(n, m)``; the first column of the second is 0.

    Raises:
        ModelError: for points of several dims, or ``m`` below 1.

    >>> import torch
    >>> from ember.contrib.hsgp import eigenfunctions_periodic
    >>> cosines, sines = eigenfunctions_periodic(torch.zeros(2), 1.0, 3)
    >>> cosines.shape, sines.abs().max()
    (torch.Size([2, 3]), tensor(0.))
    """
    if x.dim() > 1:
        raise ModelError(f"a periodic process needs points of one dim, (n,); got the shape {tuple(x.shape)}")
    if m < 1:
        raise ModelError(f"m must be a positive integer, got {m}")
    angles = (w0 * x).unsqueeze(-1) * torch.arange(m, dtype=x.dtype, device=x.device)
    return torch.cos(angles), torch.sin(angles)


def with_dim(x: Tensor) -> Tensor:
    """Points with a last dim for their coordinates."""
    return x.unsqueeze(-1) if x.dim() == 1 else x


def sides_of(ell: Ell, dim: int) -> list[float]:
    """Half the length of each side of a box.

    Raises:
        ModelError: for values that do not fit the dims, or are not positive.
    """
    sides = [float(ell)] * dim if isinstance(ell, (int, float)) else [float(side) for side in ell]
    if len(sides) != dim or not all(side > 0 for side in sides):
        raise ModelError(
            f"ell must be a positive number, or {dim} of them, one for each dim of x; got {ell!r}"
        )
    return sides
