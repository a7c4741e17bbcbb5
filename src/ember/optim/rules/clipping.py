"""Gradient clipping, as functions of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# torch.nn.utils.clip_grad_norm_ adds it to a norm before dividing by it.
_SMALL = 1e-6


@dataclass(frozen=True)
class Clipping:
    """Limits for the gradient of one parameter, and for that of all together; applied in this order."""

    norm: float | None = None
    value: float | None = None
    global_norm: float | None = None


def clip_norms(grads: Tensor, limit: float, dims: int | None = None) -> Tensor:
    """Gradients of norms of at most ``limit``.

    Args:
        grads: the gradient of one parameter; or of many, stacked along the first dim.
        limit: the largest norm.
        dims: how many dims a parameter has; all of them if not given.

    >>> clip_norms(torch.tensor([3.0, 4.0]), 1.0)
    tensor([0.6000, 0.8000])
    """
    alone = dims is None or dims == grads.dim()
    own = list(range(grads.dim())) if alone else list(range(1, grads.dim()))
    # The norm of a number is its size; no dims would mean all.
    norms = torch.linalg.vector_norm(grads, dim=own, keepdim=True) if own else grads.abs()
    return grads * (limit / (norms + _SMALL)).clamp(max=1.0)


def clip_values(grads: Tensor, limit: float) -> Tensor:
    """Gradients with entries in ``[-limit, limit]``.

    >>> clip_values(torch.tensor([3.0, -0.5]), 1.0)
    tensor([ 1.0000, -0.5000])
    """
    return grads.clamp(-limit, limit)


def clip_global_norm(grads: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Gradients that have a norm of at most ``limit`` together.

    >>> clip_global_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    [tensor([0.6000]), tensor([0.8000])]
    """
    norms = torch.stack([torch.linalg.vector_norm(grad).to(grads[0].dtype) for grad in grads])
    scale = (limit / (torch.linalg.vector_norm(norms) + _SMALL)).clamp(max=1.0)
    return [grad * scale.to(grad.dtype) for grad in grads]
