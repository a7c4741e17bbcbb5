"""Operations that take a tensor or a Python number alike, and gradients of lists of tensors."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def torch_item(x: Any) -> Any:
    """``x.item()`` of a tensor; a number is returned as it is."""
    return x if isinstance(x, numbers.Number) else x.item()


def torch_backward(x: object, retain_graph: bool | None = None) -> None:
    """``x.backward()`` of a tensor with a graph; nothing for other tensors and for numbers."""
    if isinstance(x, Tensor) and x.grad_fn is not None:
        x.backward(retain_graph=retain_graph)  # type: ignore[no-untyped-call]


def torch_exp(x: Any) -> Any:
    """The exponential of a tensor or number."""
    return x.exp() if isinstance(x, Tensor) else math.exp(x)


def torch_sum(tensor: Tensor, dims: Sequence[int]) -> Tensor:
    """Sum over those of the (negative) ``dims`` that the tensor has."""
    assert all(dim < 0 for dim in dims)
    present = [dim for dim in dims if -tensor.dim() <= dim]
    return tensor.sum(present) if present else tensor


def total(terms: Sequence[Any]) -> Any:
    """The sum of scalar tensors and numbers; 0.0 if there are none."""
    if len(terms) > _FEW and all(
        isinstance(term, Tensor) and term.device == terms[0].device for term in terms
    ):
        return torch.stack(tuple(terms)).sum()
    result = terms[0] if terms else 0.0
    for term in terms[1:]:
        result = result + term
    return result


_FEW = 4
"""Up to here a chain of additions makes a smaller autograd graph than stack and sum."""


def zero_grads(tensors: Iterable[Tensor]) -> None:
    """Give tensors that have a gradient a gradient of zeros, a new tensor each."""
    for p in tensors:
        if p.grad is not None:
            p.grad = torch.zeros_like(p.grad)
