"""Closed forms for batches of small matrices."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["determinant_3d", "eig_3d", "ignore_torch_deprecation_warnings", "inv3d", "rinverse"]


@contextlib.contextmanager
def ignore_torch_deprecation_warnings() -> Iterator[None]:
    """Silence what torch says of ``triangular_solve``, for the length of a ``with`` block."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.triangular_solve is deprecated")
        yield


def rinverse(M: Tensor, sym: bool = False) -> Tensor:
    """The inverses of square matrices ``(..., n, n)``, by Cramer's rule up to ``n = 3``.

    Args:
        sym: whether the matrices are symmetric, so that their inverses are to be exactly so.

    >>> rinverse(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, -0.0000],
            [-0.0000, 0.2500]])
    """
    assert M.shape[-1] == M.shape[-2], f"matrices of shape {tuple(M.shape[-2:])} have no inverse"
    size = M.shape[-1]
    if size == 1:
        return M.reciprocal()
    if size == 3:
        return inv3d(M, sym=sym)
    if size != 2:
        general: Tensor = torch.linalg.inv(M)
        return general
    (a, b), (c, d) = _entries(M)
    adjugate = torch.stack([d, -b, -c, a], -1).reshape(M.shape)
    return adjugate / (a * d - b * c)[..., None, None]


def _entries(M: Tensor) -> list[tuple[Tensor, ...]]:
    return [row.unbind(-1) for row in M.unbind(-2)]


def determinant_3d(H: Tensor) -> Tensor:
    """The determinants of matrices ``(..., 3, 3)``.

    >>> determinant_3d(torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    tensor(6.)
    """
    first, second, third = H.unbind(-2)
    volume: Tensor = (first * torch.linalg.cross(second, third)).sum(-1)
    return volume


def inv3d(H: Tensor, sym: bool = False) -> Tensor:
    """The inverses of matrices ``(..., 3, 3)``; see :func:`rinverse`."""
    first, second, third = H.unbind(-2)
    cross = torch.linalg.cross
    adjugate = torch.stack([cross(second, third), cross(third, first), cross(first, second)], -1)
    if sym:
        adjugate = adjugate.triu() + adjugate.triu(1).mT
    return adjugate / determinant_3d(H)[..., None, None]


def eig_3d(H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The eigenvalues of symmetric matrices ``(..., 3, 3)``, from the smallest to the largest.

    References:
        O. K. Smith (1961), "Eigenvalues of a symmetric 3 x 3 matrix".

    >>> [round(float(x), 4) for x in eig_3d(torch.diag(torch.tensor([3.0, 1.0, 2.0])))]
    [1.0, 2.0, 3.0]
    """
    eye = torch.eye(3, dtype=H.dtype, device=H.device)
    mean = H.diagonal(dim1=-2, dim2=-1).mean(-1)
    rest = H - mean[..., None, None] * eye
    variance = rest.square().sum((-2, -1)) / 6
    # Three equal eigenvalues have no direction to go to: any positive spread in their place gives angle and gradient.
    spread = torch.where(variance > 0, variance, 1.0).sqrt()
    cosine = determinant_3d(rest / spread[..., None, None]) / 2
    spread = torch.where(variance > 0, spread, 0.0)
    # Two equal eigenvalues: the arc cosine has no derivative there, and rounding may lead beyond.
    inside = cosine.abs() < 1
    at_edge = torch.where(cosine > 0, 0.0, math.pi / 3)
    angle = torch.where(inside, torch.where(inside, cosine, 0.0).acos() / 3, at_edge)
    largest = mean + 2 * spread * angle.cos()
    smallest = mean + 2 * spread * (angle + 2 * math.pi / 3).cos()
    return smallest, 3 * mean - largest - smallest, largest
