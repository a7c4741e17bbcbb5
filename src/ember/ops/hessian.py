"""Second derivatives of a scalar."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["hessian"]


def hessian(y: Tensor, xs: Tensor | Sequence[Tensor]) -> Tensor:
    """The matrix of second derivatives of a scalar by all entries of some tensors, one after another.

    It takes a backward pass for each row.

    Args:
        y: a scalar that was computed from ``xs``.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> hessian(x[0] ** 2 * x[1], x)
    tensor([[4., 2.],
            [2., 0.]])
    """
    inputs = [xs] if isinstance(xs, Tensor) else list(xs)
    gradients = torch.autograd.grad(y, inputs, create_graph=True)
    rows = [_row(entry, inputs) for gradient in gradients for entry in gradient.reshape(-1)]
    return torch.stack(rows)


def _row(entry: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    if not entry.requires_grad:  # linear in that direction
        return torch.cat([torch.zeros_like(x).reshape(-1) for x in inputs])
    row = torch.autograd.grad(entry, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([x.reshape(-1) for x in row])
