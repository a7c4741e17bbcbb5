"""What an optimizer knows about each parameter, kept by the tensor's identity and dropped with it."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ember.optim.changes import Changes, States, Watched
from ember.optim.flat.state import StateBuffer
from ember.optim.foreign import Options, has_hooks, shell, updates_each_parameter
from ember.optim.rules.clipping import Clipping
from ember.params import ParamStoreDict


def is_scheduler(optimizer: Any) -> bool:
    """Whether an object is a scheduler around a torch optimizer, rather than a torch optimizer.

    >>> import torch
    >>> is_scheduler(torch.optim.SGD([torch.zeros(1)]))
    False
    """
    return hasattr(optimizer, "optimizer")


class Record:
    """One parameter: its options and state in torch's form, its clipping; its torch optimizer once somebody asks for it.

    Args:
        param: the unconstrained leaf.
        name: its name in the store, if it has one.
        store: where its name counts.
        clip: limits of its gradient.
        template: an optimizer of the parameter's class; whatever it holds itself is left alone.
        changes: counts what changes.
    """

    __slots__ = (
        "_changes",
        "_groups",
        "_rule",
        "buffer",
        "clip",
        "handed_out",
        "name",
        "options",
        "param",
        "place",
        "scheduler",
        "state",
        "store",
        "template",
    )

    def __init__(
        self,
        param: Tensor,
        name: str | None,
        store: ParamStoreDict,
        clip: Clipping,
        template: Optimizer,
        changes: Changes,
    ) -> None:
        self.param = param
        self.name = name
        self.store = weakref.ref(store)
        self.clip = clip
        self.template = template
        self.scheduler: Any = None
        self.handed_out = False
        """Whether somebody else may hold the torch optimizer, and may replace what it holds."""
        self.buffer: StateBuffer | None = None
        """Where the state lies beside that of others, once a step has been recorded."""
        self.place = 0
        """Which parameter of the buffer it is."""
        self._changes = changes
        self._rule: Optimizer | None = None
        self.options: Options = Watched({**template.param_groups[0], "params": [param]}, changes)
        self.state: States | dict[Tensor, Any] = States({}, changes)

    @property
    def kind(self) -> type[Optimizer]:
        """The class of the torch optimizer."""
        return type(self.template)

    def show(self, shown: Any) -> None:
        """Use an optimizer, or a scheduler with its optimizer."""
        self.scheduler = shown if is_scheduler(shown) else None
        self._bind(shown.optimizer if is_scheduler(shown) else shown)

    def _bind(self, rule: Optimizer) -> None:
        """Let a torch optimizer show the options and the state, by dicts that count their changes."""
        self._rule = self.template = rule
        groups = rule.param_groups
        if isinstance(groups, list):
            groups[:] = [Watched(group, self._changes) for group in groups]
        self._groups = groups
        self.options = groups[0]
        known = type(rule.state) in (dict, defaultdict, States) and updates_each_parameter(type(rule))
        if known and rule.state is not self.state:
            rule.state = States(rule.state, self._changes)  # type: ignore[assignment]
        self.state = rule.state
        self._changes.note()

    def was_replaced(self) -> bool:
        """Whether the torch optimizer holds other options, or another state, than those known here."""
        rule = self._rule
        return rule is not None and not (
            rule.state is self.state and rule.param_groups is self._groups and self._groups[0] is self.options
        )

    def follow(self) -> None:
        """Take up what was put in place of options or state."""
        if self._rule is not None and self.was_replaced():
            self._bind(self._rule)

    @property
    def rule(self) -> Optimizer:
        """The torch optimizer of this parameter, which reads and writes options and state here."""
        if self._rule is None:
            self._groups = [self.options]
            self._rule = shell(self.template, self._groups, self.state)
        return self._rule

    @property
    def shown(self) -> Any:
        """What ``optim_objs`` shows: the scheduler if there is one, else the optimizer."""
        return self.rule if self.scheduler is None else self.scheduler

    @property
    def has_hooks(self) -> bool:
        """Whether functions are to be called around the step of this parameter's optimizer."""
        return self._rule is not None and has_hooks(self._rule)

    @property
    def has_one_group(self) -> bool:
        """Whether its optimizer is for this parameter alone."""
        return self._rule is None or len(self._rule.param_groups) == 1

    @property
    def is_special(self) -> bool:
        """Whether a step of its optimizer does more than to update this parameter."""
        return self.has_hooks or not self.has_one_group

    @property
    def is_watched(self) -> bool:
        """Whether all changes of options and state are counted."""
        return isinstance(self.options, Watched) and isinstance(self.state, States)

    @property
    def rate(self) -> float:
        """The learning rate now; zero for a rule without one."""
        return float(self.options.get("lr", 0.0))

    @property
    def values(self) -> dict[str, Any]:
        """The state by torch's names; empty before the first step."""
        values: dict[str, Any] = self.state.get(self.param, {})
        return values

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
    """A record whose parameter is not in its store now; it lives while somebody else holds the parameter."""

    __slots__ = ("record", "ref", "values")

    def __init__(self, record: Record, ref: weakref.ref[Tensor]) -> None:
        self.record = record
        self.ref = ref
        self.values = record.state.pop(record.param, None)
        del record.param
        record.options["params"].clear()

    def revive(self, param: Tensor) -> Record:
        self.record.param = param
        self.record.options["params"].append(param)
        if self.values is not None:
            self.record.state[param] = self.values
        return self.record


class Records:
    """Records by the identity of their parameters, in the order in which parameters were first seen."""

    def __init__(self) -> None:
        self.changes = Changes()
        self._records: dict[int, Record] = {}
        self._parked: dict[int, _Parked] = {}
        self._handed_out: list[Record] = []

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    @property
    def num_parked(self) -> int:
        """How many records wait for their parameter to come back."""
        return len(self._parked)

    def hold(self, records: Iterable[Record]) -> bool:
        """Whether all of these are here."""
        return {id(record) for record in records} <= {id(record) for record in self._records.values()}

    def is_unchanged_since(self, number: int) -> bool:
        """Whether nothing has changed since ``changes.number`` was this."""
        return number == self.changes.number and not (self._handed_out and self._any_replaced())

    def _any_replaced(self) -> bool:
        return any(record.was_replaced() or record.is_special for record in self._handed_out)

    def hand_out(self, record: Record) -> None:
        """Note that somebody may hold the torch optimizer of a parameter."""
        if not record.handed_out:
            record.handed_out = True
            self._handed_out.append(record)

    def follow(self) -> None:
        """Take up what was put in place of options or states in torch optimizers that were handed out."""
        for record in self._handed_out:
            record.follow()

    def get(self, param: Tensor) -> Record | None:
        """The record of a parameter, also if it has been away from its store in the meantime."""
        record = self._records.get(id(param))
        if record is None and (parked := self._parked.get(id(param))) is not None and parked.ref() is param:
            self.changes.note()
            del self._parked[id(param)]
            record = self._records[id(param)] = parked.revive(param)
            if record.handed_out:
                self._handed_out.append(record)
        return record

    def add(self, record: Record) -> None:
        """Take a new record in."""
        self.changes.note()
        self._records[id(record.param)] = record
        if record.handed_out:
            self._handed_out.append(record)

    def remove(self, param: Tensor) -> None:
        """Forget a parameter."""
        self._drop(id(param))

    def _drop(self, key: int) -> Record:
        self.changes.note()
        record = self._records.pop(key)
        self._handed_out = [other for other in self._handed_out if other is not record]
        return record

    def park_departed(self) -> bool:
        """Let go of parameters that have left their store; says whether there were any.

        Their state is kept weakly: it comes back with the parameter (a store's ``scope`` takes parameters
        away for a while), and dies with it.
        """
        departed = [key for key, record in self._records.items() if record.has_left()]
        for key in departed:
            self._park(key, self._drop(key))
        return bool(departed)

    def _park(self, key: int, record: Record) -> None:
        if not record.has_one_group:
            return
        parked = self._parked

        def forget(_: object) -> None:
            parked.pop(key, None)

        ref = weakref.ref(record.param, forget)
        parked[key] = _Parked(record, ref)
