"""Sums of numbers that are kept as logarithms, right also where all of them are zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["log_multiplication_by", "logmatmulexp", "logsumexp"]


def logsumexp(x: Tensor, dims: Sequence[int]) -> Tensor:
    """``log(sum(exp(x)))`` over ``dims``; the gradient is 0 at every entry of minus infinity.

    torch's own has the gradient NaN where a whole sum is of zeros.

    >>> x = torch.full((2,), -torch.inf, requires_grad=True)
    >>> torch.autograd.grad(logsumexp(x, (0,)), x)
    (tensor([0., 0.]),)
    """
    if not dims:
        return x
    lowest = torch.finfo(x.dtype).min
    result = x.clamp(min=lowest).logsumexp(tuple(dims))
    # A sum of n lowest numbers is lowest + log(n), which rounds to lowest.
    return result.masked_fill(result <= lowest / 2, -torch.inf)


def logmatmulexp(x: Tensor, y: Tensor) -> Tensor:
    """The product of two matrices of logarithms, by a product of matrices of numbers.

    This takes less time and memory than sums over all pairs, at a price: what is more than 700 below the sum of its row's
    and its column's maximum counts as zero.

    Shapes: ``x`` is ``(..., n, k)``, ``y`` is ``(..., k, m)``, the result is ``(..., n, m)``.

    >>> x = torch.eye(2).log()
    >>> logmatmulexp(x, x).exp()
    tensor([[1., 0.],
            [0., 1.]])
    """
    return log_multiplication_by(y)(x)


def log_multiplication_by(y: Tensor) -> Callable[[Tensor], Tensor]:
    """As :func:`logmatmulexp` for one ``y`` and many ``x``: what depends on ``y`` alone is computed once.

    >>> double = log_multiplication_by(torch.tensor([[2.0]]).log())
    >>> double(double(torch.zeros(1, 1))).exp()
    tensor([[4.]])
    """
    columns = _finite_maximum(y, -2)
    # Double precision for its exponents: those of float32 end 87 below the maximum.
    wide = torch.float64 if y.device.type in ("cpu", "cuda") else y.dtype
    numbers = (y - columns).to(wide).exp()

    def multiplied(x: Tensor) -> Tensor:
        rows = _finite_maximum(x, -1)
        total = (x - rows).to(wide).exp() @ numbers
        nonzero = total >= torch.finfo(wide).tiny
        logs = total.masked_fill(~nonzero, 1.0).log().masked_fill(~nonzero, -torch.inf)
        return logs.to(x.dtype) + rows + columns

    return multiplied


def _finite_maximum(x: Tensor, dim: int) -> Tensor:
    """The maximum as a constant, and some finite number where it is minus infinity."""
    return x.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(x.dtype).min)
