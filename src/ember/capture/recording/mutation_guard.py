"""What a recorded run changes is put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class MutationGuard:
    """Copies of the tensors that a run has not made itself, from just before it first changed them."""

    def __init__(self) -> None:
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}
        self._changed: set[int] = set()

    def save(self, tensor: Tensor) -> None:
        """Copy a tensor that is about to change. The tensor is kept alive, so that its storage's address stays its own."""
        if id(tensor) not in self._saved:
            self._saved[id(tensor)] = (tensor, tensor.detach().clone())
            self._changed.add(_storage(tensor))

    def has_changed(self, tensor: Tensor) -> bool:
        """Whether the run changed a tensor from outside."""
        return _storage(tensor) in self._changed

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the copies back when the block ends."""
        try:
            yield
        finally:
            with torch.no_grad():
                # The latest first: views of one tensor may have been copied at different times.
                for tensor, before in reversed(self._saved.values()):
                    tensor.detach().copy_(before)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
