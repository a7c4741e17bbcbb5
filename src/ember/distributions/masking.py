"""Scaling and masking of log densities, without tensor ops where nothing changes."""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor

from ember.torch_private.jit import jit_tracing_state


def _is_identically(x: object, number: int) -> bool:
    if isinstance(x, torch.Tensor):
        # Only integer scalars are looked into: reading a float would synchronise and break tracing.
        if x.dtype is torch.int64 and not x.shape and jit_tracing_state() is None:
            return bool(x.item() == number)
        return False
    return isinstance(x, numbers.Number) and x == number  # type: ignore[comparison-overlap]


def is_identically_zero(x: Tensor) -> bool:
    """Whether ``x`` is the number 0, or an integer tensor of no dims that holds 0.

    >>> is_identically_zero(0.0), is_identically_zero(torch.zeros(()))
    (True, False)
    """
    return _is_identically(x, 0)


def is_identically_one(x: object) -> bool:
    """Whether ``x`` is the number 1, or an integer tensor of no dims that holds 1."""
    return _is_identically(x, 1)


def scale_and_mask(
    tensor: Any, scale: float | torch.Tensor = 1.0, mask: bool | torch.Tensor | None = None
) -> Any:
    """``tensor * scale`` where ``mask`` holds, else 0; operands broadcast.

    The masked part is replaced, not multiplied, so NaN and infinity there do not leak into the value.

    Args:
        tensor: a tensor, or the number 0, which comes back unchanged.
        scale: a positive number or tensor.
        mask: a boolean tensor, a bool, or None for no mask.
    """
    if type(scale) is float and scale == 1.0:
        unscaled = True
    else:
        unscaled = is_identically_one(scale)
    if mask is None or mask is True:
        return tensor if unscaled or is_identically_zero(tensor) else tensor * scale
    if is_identically_zero(tensor):
        return tensor
    if mask is False:
        return torch.zeros_like(tensor)
    scaled = tensor if unscaled else tensor * scale
    return torch.where(mask, scaled, scaled.new_zeros(()))
