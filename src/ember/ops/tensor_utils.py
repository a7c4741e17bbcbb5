"""Pyro's path of the tensor functions that live, by job, in the modules beside this one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ember.ops.periodic import periodic_cumsum as periodic_cumsum
from ember.ops.periodic import periodic_features as periodic_features
from ember.ops.periodic import periodic_repeat as periodic_repeat
from ember.ops.small_matrices import block_diag_embed as block_diag_embed
from ember.ops.small_matrices import block_diagonal as block_diagonal
from ember.ops.small_matrices import cholesky_solve as cholesky_solve
from ember.ops.small_matrices import matmul as matmul
from ember.ops.small_matrices import matvecmul as matvecmul
from ember.ops.small_matrices import precision_to_scale_tril as precision_to_scale_tril
from ember.ops.small_matrices import repeated_matmul as repeated_matmul
from ember.ops.small_matrices import safe_cholesky as safe_cholesky
from ember.ops.small_matrices import triangular_solve as triangular_solve
from ember.ops.spectral import as_complex as as_complex
from ember.ops.spectral import convolve as convolve
from ember.ops.spectral import dct as dct
from ember.ops.spectral import haar_transform as haar_transform
from ember.ops.spectral import idct as idct
from ember.ops.spectral import inverse_haar_transform as inverse_haar_transform
from ember.ops.spectral import next_fast_len as next_fast_len


def safe_normalize(x: Tensor, *, p: float = 2) -> Tensor:
    """Divide vectors by their ``p`` norm; zero goes to the first unit vector.

    >>> safe_normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [1.0000, 0.0000]])
    """
    assert isinstance(p, (float, int)) and p >= 0, f"expected a norm of order p >= 0, got {p!r}"
    norm = torch.linalg.vector_norm(x.detach(), ord=p, dim=-1, keepdim=True)
    first = (torch.arange(x.size(-1), device=x.device) == 0).to(x.dtype)
    # Where the norm underflows the direction is lost. The choice is made before the norm, whose gradient at 0 is not finite.
    x = torch.where(norm > torch.finfo(x.dtype).tiny, x, first)
    normalized: Tensor = x / torch.linalg.vector_norm(x, ord=p, dim=-1, keepdim=True)
    return normalized


def broadcast_tensors_without_dim(tensors: Sequence[Tensor], dim: int) -> list[Tensor]:
    """Broadcast tensors against each other but for ``dim``, so that they can be concatenated there.

    Raises:
        ValueError: if ``dim`` is not negative and the tensors differ in their number of dims.

    >>> [t.shape for t in broadcast_tensors_without_dim([torch.ones(3, 2), torch.ones(1)], -1)]
    [torch.Size([3, 2]), torch.Size([3, 1])]
    """
    if dim >= 0 and len({tensor.dim() for tensor in tensors}) > 1:
        raise ValueError("Dimension dim must be negative for different dimension tensors")
    shapes = [list(tensor.shape) for tensor in tensors]
    sizes = [shape[dim] for shape in shapes]
    for shape in shapes:
        shape[dim] = 1
    common = list(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
    result = []
    for tensor, size in zip(tensors, sizes, strict=True):
        common[dim] = size
        result.append(tensor.expand(common))
    return result


__all__ = [
    "as_complex",
    "block_diag_embed",
    "block_diagonal",
    "broadcast_tensors_without_dim",
    "cholesky_solve",
    "convolve",
    "dct",
    "haar_transform",
    "idct",
    "inverse_haar_transform",
    "matmul",
    "matvecmul",
    "next_fast_len",
    "periodic_cumsum",
    "periodic_features",
    "periodic_repeat",
    "precision_to_scale_tril",
    "repeated_matmul",
    "safe_cholesky",
    "safe_normalize",
    "triangular_solve",
]
