"""What is asked by identity: the check of truth values that torch's validation calls, and which memory a tensor has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ember.torch_private.entry import Entry, entry_point

AllTrue = Callable[[Tensor], Tensor]


class Number(Protocol):
    """An attribute of a class, as Python keeps it there."""

    def __get__(self, instance: object, owner: type | None = None, /) -> int: ...


def _all(values: Tensor) -> Tensor:
    return values.all()


def _address_of_storage(storage: torch.UntypedStorage) -> int:
    return storage.data_ptr() or id(storage)


def _address_of_tensor(tensor: Tensor) -> int:
    return tensor.data_ptr() or id(tensor)


def _tells_storages_apart(number: Number) -> bool:
    x, y = (torch.ones(2, device="cpu") for _ in range(2))
    first, part, other = (number.__get__(t.untyped_storage()) for t in (x, x[1:], y))
    return first == part and first != other


def _tells_tensors_apart(number: Number) -> bool:
    x, y = (torch.ones(2, device="cpu") for _ in range(2))
    return number.__get__(x) == number.__get__(x) and number.__get__(x) != number.__get__(y)


is_all_true: AllTrue = entry_point(
    Entry[AllTrue](
        "torch._is_all_true",
        lambda call: bool(call(torch.ones(1, dtype=torch.bool, device="cpu"))),
        _all,
        "Tensor.all; what validates could not be told from what a program asks, so that steps run eagerly",
        needed=True,
    )
)
_STORAGE: Number = entry_point(
    Entry[Number](
        "torch.UntypedStorage._cdata",
        _tells_storages_apart,
        property(_address_of_storage),
        "the address of the memory",
    )
)
_TENSOR: Number = entry_point(
    Entry[Number](
        "torch.Tensor._cdata", _tells_tensors_apart, property(_address_of_tensor), "the address of the memory"
    )
)


def number_of_storage(tensor: Tensor) -> int:
    """The same for tensors that share memory, and for no others while they live."""
    return _STORAGE.__get__(tensor.untyped_storage())


def number_of_tensor(tensor: Tensor) -> int:
    """The same for one tensor of torch that several objects of Python stand for."""
    return _TENSOR.__get__(tensor)


def all_hold(valid: Tensor) -> bool:
    """Whether all elements are true, asked as torch's own validation asks it."""
    return bool(is_all_true(valid))
