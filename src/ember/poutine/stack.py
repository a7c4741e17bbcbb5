"""What belongs to one thread: the stack of active handlers, and the dims of its plates.

A handler entered in one thread never sees the statements of another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, MutableSequence
from typing import Any, NamedTuple

import torch

from ember.errors import ModelError


class Mark(NamedTuple):
    """What belongs to a thread, at some time."""

    stack: list[Any]
    plate_dims: list[str | None]
    has_gradients: bool


class _ThreadState(threading.local):
    """What belongs to one thread: its handlers (outermost first) and its plate dims."""

    def __init__(self) -> None:
        # Messengers, which are defined above this module.
        self.stack: list[Any] = []
        self.plate_dims: list[str | None] = []

    def mark(self) -> Mark:
        """What :meth:`go_back` goes back to."""
        return Mark(list(self.stack), list(self.plate_dims), torch.is_grad_enabled())

    def go_back(self, mark: Mark) -> None:
        """Undo what an error has left behind: Ctrl-C may come as a block is entered or left, whose end never runs."""
        self.stack[:], self.plate_dims[:] = mark.stack, mark.plate_dims
        torch.set_grad_enabled(mark.has_gradients)


THREAD = _ThreadState()


class StackView(MutableSequence[Any]):
    """This thread's handler stack as the one list that Pyro programs read and write."""

    def __getitem__(self, index: Any) -> Any:
        return THREAD.stack[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        THREAD.stack[index] = value

    def __delitem__(self, index: Any) -> None:
        del THREAD.stack[index]

    def __len__(self) -> int:
        return len(THREAD.stack)

    def insert(self, index: int, value: object) -> None:
        THREAD.stack.insert(index, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Iterable) and THREAD.stack == list(other)

    def __repr__(self) -> str:
        return repr(THREAD.stack)


class DimAllocator:
    """Hands out the dims of vectorised plates; dim -1 is the rightmost."""

    @property
    def _stack(self) -> list[str | None]:
        return THREAD.plate_dims

    def allocate(self, name: str, dim: int | None) -> int:
        """Reserve ``dim`` for a plate, or the rightmost free one if it is None.

        Raises:
            ValueError: if the plate is active already, or the dim is not negative or is taken.
        """
        taken = THREAD.plate_dims
        if name in taken:
            raise ModelError(
                f"duplicate plate '{name}': it is entered while a plate of that name is active; "
                "give the two plates different names"
            )
        if dim is None:
            dim = next((-1 - i for i, user in enumerate(taken) if user is None), -1 - len(taken))
        elif dim >= 0:
            raise ModelError(f"Expected dim < 0 to index from the right, actual {dim} (of plate '{name}')")
        elif -dim <= len(taken) and taken[-1 - dim] is not None:
            raise ModelError(
                f'at plates "{name}" and "{taken[-1 - dim]}", collide at dim={dim}\n\n'
                f"Try moving the dim of one plate to the left, e.g. dim={dim - 1}"
            )
        taken.extend([None] * (-dim - len(taken)))
        taken[-1 - dim] = name
        return dim

    def free(self, name: str, dim: int) -> None:
        """Release a dim that :meth:`allocate` gave to ``name``."""
        taken = THREAD.plate_dims
        index = -1 - dim
        assert taken[index] == name
        taken[index] = None
        while taken and taken[-1] is None:
            taken.pop()


PLATE_DIMS = DimAllocator()
