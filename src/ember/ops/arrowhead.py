"""Matrices in the shape of an arrow head: full in the first rows and columns, diagonal in the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SymmArrowhead", "TriuArrowhead", "sqrt", "triu_gram", "triu_inverse", "triu_matvecmul"]


class SymmArrowhead(NamedTuple):
    """A symmetric one.

    Shapes: ``top`` is ``(head, n)``, ``bottom_diag`` is ``(n - head,)``.
    """

    top: Tensor
    bottom_diag: Tensor


class TriuArrowhead(NamedTuple):
    """An upper triangular one.

    Shapes: ``top`` is ``(head, n)``, ``bottom_diag`` is ``(n - head,)``.
    """

    top: Tensor
    bottom_diag: Tensor


def sqrt(x: SymmArrowhead) -> TriuArrowhead:
    """The upper triangular ``U`` with ``U @ U.T`` equal to ``x``, which is positive definite.

    >>> sqrt(SymmArrowhead(torch.tensor([[5.0, 2.0]]), torch.tensor([4.0])))
    TriuArrowhead(top=tensor([[2., 1.]]), bottom_diag=tensor([2.]))
    """
    head = x.top.size(0)
    bottom = x.bottom_diag.sqrt()
    side = x.top[:, head:] / bottom
    # What is left of the first block; its factor is upper triangular, so rows and columns are turned around.
    rest = (x.top[:, :head] - side @ side.mT).flip(-2, -1)
    corner = torch.linalg.cholesky(rest).flip(-2, -1)
    return TriuArrowhead(torch.cat([corner, side], -1), bottom)


def triu_inverse(x: TriuArrowhead) -> TriuArrowhead:
    """The inverse, which has the same shape."""
    head = x.top.size(0)
    bottom = x.bottom_diag.reciprocal()
    eye = torch.eye(head, dtype=x.top.dtype, device=x.top.device)
    corner = torch.linalg.solve_triangular(x.top[:, :head], eye, upper=True)
    return TriuArrowhead(torch.cat([corner, -corner @ (x.top[:, head:] * bottom)], -1), bottom)


def triu_matvecmul(x: TriuArrowhead, y: Tensor, transpose: bool = False) -> Tensor:
    """The product with a vector.

    Args:
        transpose: of the transposed matrix.
    """
    head = x.top.size(0)
    if transpose:
        z = x.top.mT @ y[:head]
        return torch.cat([z[:head], z[head:] + x.bottom_diag * y[head:]])
    return torch.cat([x.top @ y, x.bottom_diag * y[head:]])


def triu_gram(x: TriuArrowhead) -> Tensor:
    """The product ``U.T @ U``: a full matrix, or a vector, the diagonal, if there is no head."""
    head = x.top.size(0)
    if head == 0:
        return x.bottom_diag.square()
    gram = x.top.mT @ x.top
    bottom = torch.nn.functional.pad(x.bottom_diag.square(), (head, 0))
    return gram + bottom.diag()
