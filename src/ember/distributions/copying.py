"""Deep copies that map the tensors inside: detached, or on another device or dtype."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class _MappingMemo(dict[int, Any]):
    """The memo of a deep copy, which answers for objects that ``replace`` knows how to copy."""

    def __init__(self, replace: Callable[[Any], Any]) -> None:
        super().__init__()
        self._replace = replace

    def get(self, key: int, default: object = None) -> Any:
        known = super().get(key, default)
        if known is not default:
            return known
        # deepcopy asks for the id of the object that it is about to copy, so the object is alive.
        replacement = self._replace(ctypes.cast(key, ctypes.py_object).value)
        if replacement is None:
            return default
        self[key] = replacement
        return replacement


def detach(obj: T) -> T:
    """A deep copy of any object with all tensors in it detached; their data is shared.

    >>> detach([torch.ones(1, requires_grad=True)])
    [tensor([1.])]
    """
    return copy.deepcopy(obj, _MappingMemo(lambda x: x.detach() if isinstance(x, torch.Tensor) else None))


def deep_to(obj: T, *args: Any, **kwargs: Any) -> T:
    """A deep copy of any object with ``.to(*args, **kwargs)`` applied to the tensors in it.

    Modules are moved in place first, as :meth:`torch.nn.Module.to` does, and then copied.

    >>> deep_to({"x": torch.ones(1)}, torch.float64)
    {'x': tensor([1.], dtype=torch.float64)}
    """

    def replace(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return x.to(*args, **kwargs)
        if isinstance(x, torch.nn.Module):
            x.to(*args, **kwargs)
        return None

    return copy.deepcopy(obj, _MappingMemo(replace))
