"""Linear algebra of small matrices: block diagonals, powers, Cholesky factors with care, shortcuts for size one."""

from __future__ import annotations

import torch
from torch import Tensor

from ember import settings

CHOLESKY_RELATIVE_JITTER: float = 4.0
"""What :func:`safe_cholesky` adds to the diagonal, in roundings of the largest entry of the row."""


@settings.register("cholesky_relative_jitter", __name__, "CHOLESKY_RELATIVE_JITTER")
def _validate_jitter(value: float) -> None:
    if not (isinstance(value, (int, float)) and value >= 0):
        raise AssertionError(f"cholesky_relative_jitter must be a nonnegative number, got {value!r}")


def block_diag_embed(mat: Tensor) -> Tensor:
    """Blocks of shape ``(..., B, M, N)`` on the diagonal of a matrix ``(..., B * M, B * N)``.

    >>> block_diag_embed(torch.tensor([[[1, 2]], [[3, 4]]]))
    tensor([[1, 2, 0, 0],
            [0, 0, 3, 4]])
    """
    assert mat.dim() > 2, "Input to block_diag() must be of dimension 3 or higher"
    blocks = torch.diag_embed(mat.movedim(-3, -1), dim1=-4, dim2=-2)
    return blocks.flatten(-4, -3).flatten(-2)


def block_diagonal(mat: Tensor, block_size: int) -> Tensor:
    """The ``B = block_size`` blocks on the diagonal of a matrix ``(..., B * M, B * N)``, as ``(..., B, M, N)``.

    >>> block_diagonal(torch.tensor([[1, 2, 0, 0], [0, 0, 3, 4]]), 2)
    tensor([[[1, 2]],
            [[3, 4]]])
    """
    shape = mat.shape[-2:]
    assert all(size % block_size == 0 for size in shape), f"no {block_size} blocks in a matrix {tuple(shape)}"
    m, n = (size // block_size for size in shape)
    blocks = mat.reshape(mat.shape[:-2] + (block_size, m, block_size, n))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def repeated_matmul(M: Tensor, n: int) -> Tensor:
    """The powers ``M, M^2, ..., M^n`` stacked along a new first dim, in about ``log2(n)`` products.

    >>> repeated_matmul(torch.tensor([[2.0]]), 3).flatten()
    tensor([2., 4., 8.])
    """
    assert M.size(-1) == M.size(-2), "Input tensors must satisfy M.size(-1) == M.size(-2)."
    assert n > 0, "argument n to repeated_matmul must be 1 or larger"
    powers = M.unsqueeze(0)
    while len(powers) < n:
        powers = torch.cat([powers, powers[-1] @ powers[: n - len(powers)]])
    return powers


def safe_cholesky(x: Tensor) -> Tensor:
    """The lower Cholesky factor of a positive semidefinite matrix, made definite by a jitter of a few roundings.

    The setting ``cholesky_relative_jitter`` scales the jitter; 0 turns it off.

    >>> safe_cholesky(torch.tensor([[4.0]]))
    tensor([[2.]])
    """
    if x.size(-1) == 1:
        return (x.clamp(min=torch.finfo(x.dtype).tiny) if CHOLESKY_RELATIVE_JITTER else x).sqrt()
    if CHOLESKY_RELATIVE_JITTER:
        largest = x.detach().abs().amax(-1)
        x = x + torch.diag_embed(CHOLESKY_RELATIVE_JITTER * torch.finfo(x.dtype).eps * largest)
    factor: Tensor = torch.linalg.cholesky(x)
    return factor


def cholesky_solve(x: Tensor, y: Tensor) -> Tensor:
    """``A^-1 x`` for ``A = y y^T``, with ``y`` lower triangular."""
    return x / (y * y) if y.size(-1) == 1 else x.cholesky_solve(y)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """``x @ y``; an elementwise product where the inner size is 1."""
    return x * y if x.size(-1) == 1 else x @ y


def matvecmul(x: Tensor, y: Tensor) -> Tensor:
    """The matrix ``x`` times the vector ``y``, both batched."""
    return x.squeeze(-1) * y if x.size(-1) == 1 else (x @ y.unsqueeze(-1)).squeeze(-1)


def triangular_solve(x: Tensor, y: Tensor, upper: bool = False, transpose: bool = False) -> Tensor:
    """``y^-1 x``, or ``y^-T x`` with ``transpose``, for a triangular ``y``."""
    if y.size(-1) == 1:
        return x / y
    if transpose:
        y, upper = y.mT, not upper
    solution: Tensor = torch.linalg.solve_triangular(y, x, upper=upper)
    return solution


def precision_to_scale_tril(P: Tensor) -> Tensor:
    """The lower Cholesky factor of the inverse of ``P``, without inverting it.

    >>> precision_to_scale_tril(torch.diag(torch.tensor([4.0, 1.0])))
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000]])
    """
    reversed_factor: Tensor = torch.linalg.cholesky(P.flip((-2, -1)))
    inverse = reversed_factor.flip((-2, -1)).mT
    eye = torch.eye(P.size(-1), dtype=P.dtype, device=P.device)
    factor: Tensor = torch.linalg.solve_triangular(inverse, eye, upper=False)
    return factor
