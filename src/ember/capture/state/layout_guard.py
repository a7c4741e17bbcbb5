"""Torch's own comparison of tensors with layouts noted before: one call for all of them, in place of four a tensor.

It is a private class of torch's compiler. It is used only after it has been seen to notice what it must; where it does not, or is
not there, the caller compares by public means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

LayoutGuard = Callable[..., bool]
"""Called with tensors; whether type, dtype, device, shape, strides and ``requires_grad`` of each are as noted."""


def layout_guard(tensors: Sequence[Tensor]) -> LayoutGuard | None:
    """A guard for tensors like these, or None if torch's cannot be used.

    >>> guard = layout_guard([torch.zeros(2)])
    >>> guard is None or (guard(torch.ones(2)), guard(torch.ones(3)))
    (True, False)
    """
    return _guard(tensors) if tensors and _is_sound() else None


def _guard(tensors: Sequence[Tensor]) -> LayoutGuard | None:
    try:
        kind: Any = torch._C._dynamo.guards.TensorGuards
        sizes = [list(tensor.shape) for tensor in tensors]
        strides = [list(tensor.stride()) for tensor in tensors]
        check: LayoutGuard = kind(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check
        return check if check(*tensors) else None
    except Exception:  # another torch may have another signature, or none
        return None


@cache
def _is_sound() -> bool:
    """Whether torch's guard sees each of the changes that matter."""
    changes: list[Callable[[Tensor], Any]] = [
        lambda x: x.t_(),
        lambda x: x.requires_grad_(),
        lambda x: setattr(x, "data", torch.zeros(2, 8)),
        lambda x: setattr(x, "data", torch.zeros(16)),
        lambda x: setattr(x, "data", torch.zeros(8, 4).t()),
    ]
    for change in changes:
        x = torch.zeros(4, 4)
        guard = _guard([torch.zeros(()), x])
        if guard is None or not guard(torch.zeros(()), x):
            return False
        change(x)
        if guard(torch.zeros(()), x):
            return False
    return True


__all__ = ["LayoutGuard", "layout_guard"]
