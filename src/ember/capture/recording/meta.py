"""What a code generator must know of the tensors of a recorded run: layout, and which of them share memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ember.torch_private.values import number_of_storage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Meta:
    """One tensor as an operator left it. Views, and results of in-place operators, have the ``storage`` of what they share."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: int
    """A number of the memory, unique within a recording: not used again when that memory has been freed."""
    device: str


class Source(IntEnum):
    """What values follow from."""

    VARIES = 0
    """Parameters, state, random numbers."""
    GIVEN = 1
    """Tensors that are the same in all operators of a step: arguments, and what the program reads outside."""
    CONSTANT = 2
    """Numbers that the program wrote."""


class Storage:
    """A piece of memory, as long as any tensor that the run has seen lies in it."""

    __slots__ = ("address", "number", "own", "source", "tensors")

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in it."""
        return number_of_storage(tensor) == self.address

    def __init__(self, address: int, number: int, own: bool) -> None:
        self.address = address
        self.number = number
        self.own = own
        """Whether the run made it."""
        self.source = Source.VARIES
        """What its values follow from."""
        self.tensors = 0


class _Entry(weakref.ref[Tensor], Generic[T]):
    __slots__ = ("key", "storage", "value")
    key: int
    storage: Storage
    value: T


class Tracked(Generic[T]):
    """A value for each live tensor, by identity; an entry goes when its tensor does, before its identity is used again."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry[T]] = {}
        self._storages: dict[int, Storage] = {}
        self._count = 0
        self._made: set[int] = set()
        # One method object for all references.
        self._drop: Callable[[Any], None] = self._forget

    def find(self, tensor: Tensor) -> tuple[T, Storage] | None:
        """The value of a tensor and the memory in which it lay when that was noted, or None."""
        entry = self._entries.get(id(tensor))
        return None if entry is None else (entry.value, entry.storage)

    def was_made(self, tensor: Tensor) -> bool:
        """Whether the run has made memory at the address of this tensor's."""
        return number_of_storage(tensor) in self._made

    def storage(self, tensor: Tensor, own: bool = False) -> Storage:
        """The memory of a tensor; a new one (``own`` or not) if no live tensor is known to lie in it."""
        address = number_of_storage(tensor)
        known = self._storages.get(address)
        if known is None:
            known = self._storages[address] = Storage(address, self._count, own)
            self._count += 1
            if own:
                self._made.add(address)
        return known

    def put(self, tensor: Tensor, storage: Storage, value: T) -> None:
        """Note the value of a tensor which lies in ``storage``."""
        key = id(tensor)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(tensor, self._drop)
            entry.key = key
        elif entry.storage is not storage:
            self._leave(entry.storage)
        else:
            storage.tensors -= 1
        entry.storage, entry.value = storage, value
        storage.tensors += 1

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._storages.clear()

    def _forget(self, entry: _Entry[T]) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
            self._leave(entry.storage)

    def _leave(self, storage: Storage) -> None:
        storage.tensors -= 1
        if not storage.tensors and self._storages.get(storage.address) is storage:
            del self._storages[storage.address]


def meta_of(tensor: Tensor, storage: Storage) -> Meta:
    """The record of a tensor now."""
    return Meta(
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
        int(tensor.storage_offset()),
        storage.number,
        str(tensor.device),
    )
