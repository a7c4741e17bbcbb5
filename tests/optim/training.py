"""A small deterministic training problem: gradients that depend on the parameters, and change with the step."""

from __future__ import annotations

import torch
from torch import Tensor

SHAPES = {
    "dense": [(), (3,), (2, 3), (1,)],
    "matrix": [(3, 2), (2, 3), (4, 4), (1, 2)],
    "sparse": [(4, 2), (3, 1)],
}


def leaves(gradient: str = "dense", seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in SHAPES[gradient]
    ]


def give_gradient(params: list[Tensor], step: int, gradient: str = "dense") -> None:
    """The gradient of ``(w - 1)**2 / 2`` with a disturbance that the step number and the shape determine."""
    for param in params:
        noise = torch.Generator().manual_seed(1000 * step + param.numel())
        wobble = torch.randn(param.shape, generator=noise, dtype=param.dtype)
        grad = (param.detach() - 1.0) + 0.5 * wobble
        if gradient == "sparse":
            rows = torch.tensor([step % param.shape[0]])
            grad = torch.sparse_coo_tensor(
                rows[None], grad[rows], param.shape, check_invariants=False
            ).coalesce()
        param.grad = grad
