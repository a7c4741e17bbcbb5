"""The parts of keys: what is equal exactly where a captured program may be used again."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from enum import Enum
from types import CodeType

import torch
from torch import Tensor

PLAIN: frozenset[type] = frozenset(
    {int, float, str, bool, bytes, complex, type(None), type(Ellipsis), type(NotImplemented), range, slice}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, CodeType, type(...)}
)
"""Types whose objects never change, and whose values are compared."""


def is_plain(value: object) -> bool:
    """Whether an object never changes and is compared by its value."""
    return type(value) in PLAIN or isinstance(value, Enum)


def plain_part(value: object) -> Hashable:
    """The part of a plain value: equal for the same type and value.

    >>> plain_part(1.0) == plain_part(1), plain_part(float("nan")) == plain_part(float("nan"))
    (False, True)
    """
    # repr tells 0.0 from -0.0 and makes NaN equal to itself; a slice cannot be hashed before Python 3.12.
    if isinstance(value, (float, complex, slice)):
        return (type(value), repr(value))
    return (type(value), value)


class ById:
    """An object as a part of a key: equal to itself only. It is kept alive, so that its id is not used again."""

    __slots__ = ("obj",)

    def __init__(self, obj: object) -> None:
        self.obj = obj

    def __hash__(self) -> int:
        return id(self.obj)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and self.obj is other.obj


class ByWeakId:
    """The same for a tensor, which is not kept alive: once it is gone, nothing is equal to it."""

    __slots__ = ("_id", "_ref")

    def __init__(self, tensor: Tensor) -> None:
        self._id = id(tensor)
        self._ref = weakref.ref(tensor)

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByWeakId) and (mine := self._ref()) is not None and mine is other._ref()


def layout_part(tensor: Tensor) -> Hashable:
    """How a tensor lies in memory, and whether it is trained; not what is in it."""
    if tensor.layout is not torch.strided:
        return (type(tensor), tensor.shape, tensor.layout, tensor.dtype, tensor.device, tensor.requires_grad)
    return (type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)


__all__ = ["PLAIN", "ById", "ByWeakId", "is_plain", "layout_part", "plain_part"]
