"""Which node of autograd is running, and the number of the next: the lines of a program that operators come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ember.torch_private.entry import Entry, entry_point

_UNNAMED = "reports name the lines of forward operators only"


class AutogradNode(Protocol):
    """What autograd runs."""

    def _sequence_nr(self) -> int: ...


CurrentNode = Callable[[], AutogradNode | None]
Number = Callable[[], int]


def _no_node() -> AutogradNode | None:
    return None


def _no_number() -> int:
    return 0


current_node: CurrentNode = entry_point(
    Entry[CurrentNode](
        "torch._C._current_autograd_node",
        lambda call: call() is None or hasattr(call(), "_sequence_nr"),
        _no_node,
        _UNNAMED,
    )
)
next_number: Number = entry_point(
    Entry[Number](
        "torch.autograd._get_sequence_nr", lambda call: isinstance(call(), int), _no_number, _UNNAMED
    )
)


def number_of(node: AutogradNode) -> int:
    """The number that a node got when it was made."""
    return node._sequence_nr()
