"""What an optimizer knows about each parameter, kept by the tensor's identity and dropped with it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ember.optim.changes import Options, note_change
from ember.params import ParamStoreDict


def is_scheduler(optimizer: Any) -> bool:
    """Whether an object is a scheduler around a torch optimizer, rather than a torch optimizer.

    >>> import torch
    >>> is_scheduler(torch.optim.SGD([torch.zeros(1)]))
    False
    """
    return hasattr(optimizer, "optimizer")


class Slot:
    """One parameter: its own torch optimizer with options and state, perhaps a scheduler, its clipping."""

    __slots__ = ("clip", "name", "param", "rule", "scheduler", "store")

    def __init__(
        self, param: Tensor, name: str | None, store: ParamStoreDict, shown: Any, clip: dict[str, Any]
    ) -> None:
        self.param = param
        self.name = name
        self.store = weakref.ref(store)
        self.clip = clip
        self.show(shown)

    def show(self, shown: Any) -> None:
        """Use an optimizer, or a scheduler with its optimizer."""
        self.scheduler: Any = shown if is_scheduler(shown) else None
        self.rule: Optimizer = shown.optimizer if is_scheduler(shown) else shown
        groups = getattr(self.rule, "param_groups", None)
        if isinstance(groups, list):
            groups[:] = [group if isinstance(group, Options) else Options(group) for group in groups]
        note_change()

    @property
    def shown(self) -> Any:
        """What ``optim_objs`` shows: the scheduler if there is one, else the optimizer."""
        return self.rule if self.scheduler is None else self.scheduler

    def adopt(self, name: str, store: ParamStoreDict) -> None:
        """Note that a tensor without a name has got one."""
        self.name = name
        self.store = weakref.ref(store)

    def current_name(self) -> str | None:
        """The name under which the parameter's store has it now."""
        store = self.store()
        return None if store is None else store.param_name(self.param)

    def has_left(self) -> bool:
        """Whether the parameter had a name and its store has it no longer."""
        return self.name is not None and self.current_name() is None


class _Parked:
    """A slot whose parameter is not in its store now; it lives while somebody else holds the parameter."""

    __slots__ = ("ref", "slot", "state")

    def __init__(self, slot: Slot, ref: weakref.ref[Tensor]) -> None:
        self.slot = slot
        self.ref = ref
        self.state = slot.rule.state.pop(slot.param, None)
        del slot.param
        for group in slot.rule.param_groups:
            group["params"].clear()

    def revive(self, param: Tensor) -> Slot:
        self.slot.param = param
        self.slot.rule.param_groups[0]["params"].append(param)
        if self.state is not None:
            self.slot.rule.state[param] = self.state
        return self.slot


class SlotTable:
    """Slots by the identity of their parameters, in the order in which parameters were first seen."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._parked: dict[int, _Parked] = {}

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, param: Tensor) -> Slot | None:
        """The slot of a parameter, also if it has been away from its store in the meantime."""
        slot = self._slots.get(id(param))
        if slot is None and (parked := self._parked.get(id(param))) is not None and parked.ref() is param:
            note_change()
            del self._parked[id(param)]
            slot = self._slots[id(param)] = parked.revive(param)
        return slot

    def add(self, slot: Slot) -> None:
        """Take a new slot in."""
        note_change()
        self._slots[id(slot.param)] = slot

    def remove(self, param: Tensor) -> None:
        """Forget a parameter."""
        note_change()
        del self._slots[id(param)]

    def park_departed(self) -> bool:
        """Let go of parameters that have left their store; says whether there were any.

        Their state is kept weakly: it comes back with the parameter (a store's ``scope`` takes parameters
        away for a while), and dies with it.
        """
        departed = [(key, slot) for key, slot in self._slots.items() if slot.has_left()]
        for key, slot in departed:
            note_change()
            del self._slots[key]
            self._park(key, slot)
        return bool(departed)

    def _park(self, key: int, slot: Slot) -> None:
        if len(slot.rule.param_groups) != 1:
            return
        parked = self._parked

        def forget(_: object) -> None:
            parked.pop(key, None)

        ref = weakref.ref(slot.param, forget)
        parked[key] = _Parked(slot, ref)


class OptimizerView(MutableMapping[Tensor, Any]):
    """The mapping ``optim_objs``: from unconstrained leaf to its torch optimizer, or its scheduler.

    Options changed there are used at the next step; deleting an entry makes the optimizer forget the
    parameter.
    """

    def __init__(self, table: SlotTable, on_removal: Callable[[], object]) -> None:
        self._table = table
        self._on_removal = on_removal

    def __getitem__(self, param: Tensor) -> Any:
        slot = self._table.get(param)
        if slot is None:
            raise KeyError(
                "this optimizer has not stepped that tensor; keys are unconstrained leaves, "
                "such as param('x').unconstrained()"
            )
        return slot.shown

    def __setitem__(self, param: Tensor, shown: Any) -> None:
        slot = self._table.get(param)
        if slot is None:
            raise KeyError("only the entry of a parameter that has been stepped can be replaced")
        slot.show(shown)

    def __delitem__(self, param: Tensor) -> None:
        if self._table.get(param) is None:
            raise KeyError("this optimizer has not stepped that tensor")
        self._table.remove(param)
        self._on_removal()

    def __iter__(self) -> Iterator[Tensor]:
        return iter([slot.param for slot in self._table])

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items())})"
