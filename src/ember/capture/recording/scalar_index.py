"""Indexing by integer tensors without dims, such as one draw of a Categorical, without a look at their value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8)


def _is_scalar(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dim() == 0 and item.dtype in _INTEGERS


def _dims_taken(item: Any) -> int:
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return item.dim() if isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) else 1


def index(tensor: Tensor, key: Any) -> Tensor:
    """``tensor[key]``, where torch would turn tensors without dims in ``key`` into Python integers.

    >>> index(torch.arange(6).reshape(2, 3), (torch.tensor(1), slice(0, 2)))
    tensor([3, 4])
    """
    items = key if isinstance(key, tuple) else (key,)
    if not any(map(_is_scalar, items)):
        return tensor[key]
    rest = sum(map(_dims_taken, items))
    dim, left = 0, []
    for item in items:
        rest -= _dims_taken(item)
        if item is Ellipsis:
            dim = tensor.dim() - rest
        elif _is_scalar(item):
            place = torch.where(item < 0, item + tensor.shape[dim], item)
            # One row is left, which is taken as torch takes a row by its number: other items mean what they meant.
            tensor = tensor.index_select(dim, place.reshape(1))
            item = 0
        dim += _dims_taken(item)
        left.append(item)
    return tensor[tuple(left)]
