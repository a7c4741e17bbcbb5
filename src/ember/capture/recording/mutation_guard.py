"""What a recorded run changes is put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ember.capture.recording.operators import operator_facts, tensors_in
from ember.torch_private.operators import TorchDispatchMode
from ember.torch_private.values import number_of_storage


class MutationGuard:
    """Copies of the tensors that a run has not made itself, from just before it first changed them."""

    def __init__(self) -> None:
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}
        self._changed: set[int] = set()

    def save(self, tensor: Tensor) -> None:
        """Copy a tensor that is about to change. The tensor is kept alive, so that its storage's address stays its own."""
        if id(tensor) not in self._saved:
            self._saved[id(tensor)] = (tensor, tensor.detach().clone())
            self._changed.add(number_of_storage(tensor))

    def has_changed(self, tensor: Tensor) -> bool:
        """Whether the run changed a tensor from outside."""
        return number_of_storage(tensor) in self._changed

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the copies back when the block ends."""
        try:
            yield
        finally:
            self.put_back()

    def put_back(self) -> None:
        """Put the copies back."""
        with torch.no_grad():
            # The latest first: views of one tensor may have been copied at different times.
            for tensor, before in reversed(self._saved.values()):
                tensor.detach().copy_(before)


class Undoable(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets a run do what it will, and can put back the tensors that it has changed but not made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.guard = MutationGuard()
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # The older batch norm changes its running statistics without saying so in its schema.
        unsaid = args[3:5] if func is torch.ops.aten.native_batch_norm.default else ()
        written = [*operator_facts(func).written_tensors(args, kwargs), *tensors_in(unsaid)]
        for tensor in written:
            if tensor.layout is torch.strided and number_of_storage(tensor) not in self._made:
                self.guard.save(tensor)
        result = func(*args, **kwargs)
        given = {number_of_storage(tensor) for tensor in _strided((args, tuple(kwargs.values())))}
        self._made |= {number_of_storage(tensor) for tensor in _strided(result)} - given
        return result


def _strided(values: Any) -> list[Tensor]:
    return [tensor for tensor in tensors_in((values,)) if tensor.layout is torch.strided]
