"""The update of an optimizer as a function of tensors, for recording it in a graph.

The rules work on flat buffers. Learning rates are tensors, so that a schedule never asks for a new recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.errors import CaptureError
from ember.optim.foreign import Options, updates_each_parameter
from ember.optim.plan import StepPlan
from ember.optim.recording.foreign_update import ForeignUpdate
from ember.optim.recording.layout import Numbered, laid_out
from ember.optim.recording.rule_update import RuleUpdate
from ember.optim.records import Record, Records
from ember.optim.rule_table import RULES
from ember.optim.rules.clipping import clip_global_norm
from ember.optim.rules.rule import Rule

# Muon computes in bfloat16, in which other rounding shows.
_UNTRACEABLE: frozenset[type[Optimizer]] = frozenset(
    {torch.optim.Adafactor, torch.optim.LBFGS, torch.optim.Muon, torch.optim.SparseAdam}
)
_VARYING = ("params", "lr")


class Outdated(Enum):
    """What is no longer as it was recorded."""

    STATE = "state"
    OPTIONS = "options"


class _Group:
    """Parameters with the same class, options and learning rate."""

    def __init__(self, records: Sequence[Numbered]) -> None:
        first = records[0][1]
        self.records = [record for _, record in records]
        self.rule: Rule[Any, Any] | None = RULES.get(first.kind)
        self.parts = laid_out(self.rule, records)
        self.rate = first.rate
        self.rate_buffer = torch.tensor(self.rate, dtype=torch.float64, device=first.param.device)
        self.changes_rate = False

    def updates(self, grads: Sequence[Tensor | None]) -> list[RuleUpdate | ForeignUpdate]:
        """What is to be done to the parameters that have a gradient."""
        touched = [part for part in self.parts if any(grads[m.index] is not None for m in part.members)]
        if self.rule is None:
            return [ForeignUpdate(part, grads) for part in touched]
        return [RuleUpdate(self.rule, part, grads) for part in touched]

    def own_rate(self, rate: Tensor) -> Tensor:
        """The learning rate of this step, where the rule changes it from step to step."""
        if self.rule is None or self.rule.next_rate is None:
            return rate
        after = self.rule.next_rate(rate, self.rule.options_of(self.records[0].options))
        return torch.as_tensor(after, dtype=rate.dtype, device=rate.device)


class TracedUpdate:
    """The update of the parameters of a :class:`StepPlan`, on tensors given from outside.

    Args:
        plan: which parameters.
        rates: learning rates by step, for all parameters, in place of those of the options; steps after the last take
            the last one.

    Raises:
        CaptureError: if the class, its options or its state cannot be recorded.
    """

    def __init__(self, plan: StepPlan, rates: Tensor | None = None) -> None:
        self.slots = plan.slots
        self._records = plan.records
        if plan.steps_itself is not None:
            name = plan.steps_itself.__name__
            raise CaptureError(f"{name} has a __call__ of its own; torch runs its update")
        for record in self.slots:
            _check(record)
            if rates is not None and _decays(record):
                raise CaptureError(f"{record.kind.__name__} changes its learning rates itself (lrd)")
        by_options: dict[object, list[Numbered]] = {}
        for index, record in enumerate(self.slots):
            by_options.setdefault(_options_key(record), []).append((index, record))
        self._groups = [_Group(records) for records in by_options.values()]
        self._kinds = [record.kind for record in self.slots]
        self._states = [record.state for record in self.slots]
        # After the layout, which moves state into flat buffers.
        self._values = _values(self.slots)
        # Copies of the options, whose learning rates follow.
        self._options = [dict(record.options) for record in self.slots]
        self._all_watched = all(record.is_watched for record in self.slots)
        self._noted = self._records.changes.number if self._all_watched else -1
        members = [member for group in self._groups for part in group.parts for member in part.members]
        self._buffers = list(dict.fromkeys(m.buffer for m in members if m.buffer is not None))
        self._rates = rates
        self._taken = torch.zeros((), dtype=torch.int64, device=None if rates is None else rates.device)
        self.tensors: list[Tensor] = [
            *(flat for buffer in self._buffers for flat in buffer.flat.values()),
            *([group.rate_buffer for group in self._groups] if rates is None else [rates, self._taken]),
        ]
        """Inputs of the update, which changes them in place: state and learning rates."""

    def outdated(self, records: Records) -> Outdated | None:
        """What is no longer as it was recorded, in an optimizer with these records, or nothing.

        New learning rates are no change; they are written to the graph's inputs on the way.
        """
        if records is self._records and records.is_unchanged_since(self._noted):
            return None
        found = self._compared(records)
        if found is None:
            self._noted = records.changes.number if self._all_watched else -1
        return found

    def _compared(self, records: Records) -> Outdated | None:
        if records is not self._records:
            return Outdated.STATE
        records.follow()
        if not records.hold(self.slots):
            return Outdated.STATE
        values = _values(self.slots)
        if not (
            [record.kind for record in self.slots] == self._kinds
            and all(map(is_, [record.state for record in self.slots], self._states))
            and len(values) == len(self._values)
            and all(map(is_, values, self._values))
        ):
            return Outdated.STATE
        if any(record.is_special for record in self.slots):
            return Outdated.OPTIONS
        options = [record.options for record in self.slots]
        try:
            same = options == self._options or self._follow_rates(options)
        except RuntimeError:  # options that hold tensors of several entries have no plain comparison
            return Outdated.OPTIONS
        return None if same else Outdated.OPTIONS

    def _follow_rates(self, options: Sequence[Options]) -> bool:
        """Take up new learning rates; False if something else has changed, or the rates of a group differ now."""
        for now, known in zip(options, self._options, strict=True):
            if "lr" in now and not isinstance(now["lr"], Tensor):
                known["lr"] = now["lr"]
            if now != known:
                return False
        for group in self._groups:
            rate = group.records[0].rate
            if any(record.rate != rate for record in group.records):
                return False
            if rate != group.rate:
                group.rate = rate
                group.rate_buffer.fill_(rate)
        return True

    def apply(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        tensors: Sequence[Tensor],
        good: Tensor | None = None,
    ) -> None:
        """Update ``params`` and ``tensors`` (as in :attr:`tensors`) in place.

        Args:
            params: in the order of the plan's slots.
            grads: their gradients; None leaves a parameter alone.
            tensors: what :attr:`tensors` holds, or copies of it.
            good: a scalar of type bool: where it is false, parameters, state and learning rates stay as they are.
        """
        remaining = iter(tensors)
        buffers = {buffer: {key: next(remaining) for key in buffer.flat} for buffer in self._buffers}
        rates = self._rates_of_step(list(remaining), good)
        updates = [group.updates(grads) for group in self._groups]
        _clip_together([update for own in updates for update in own])
        for group, given, own in zip(self._groups, rates, updates, strict=True):
            rate = group.own_rate(given)
            after: Tensor | None = None if rate is given else rate
            for update in own:
                changed = update.apply(params, rate, buffers, good)
                after = after if changed is None else changed.to(rate.dtype)
            group.changes_rate = after is not None and (group.rule is None or _decays(group.records[0]))
            if after is not None and group.changes_rate and self._rates is None:
                given.copy_(after if good is None else torch.where(good, after, given))

    def _rates_of_step(self, tensors: Sequence[Tensor], good: Tensor | None) -> list[Tensor]:
        """The rate of each group: its own, or the next of those known in advance (the last one again, at the end)."""
        if self._rates is None:
            return list(tensors)
        rates, taken = tensors
        place = taken.clamp(max=rates.numel() - 1)
        rate = rates.index_select(0, place.reshape(1)).reshape(())
        taken.add_(1 if good is None else good.to(taken.dtype))
        return [rate] * len(self._groups)

    def follow_schedule(self, rates: Tensor) -> None:
        """Begin with the first of other rates, at most as many as at the beginning.

        Raises:
            ValueError: if there are more, or if the update was made without rates.
        """
        if self._rates is None or not 0 < rates.numel() <= self._rates.numel():
            raise ValueError("the update was recorded for fewer rates")
        self._rates[: rates.numel()] = rates
        self._rates[rates.numel() :] = rates[-1]
        self._taken.zero_()

    @property
    def num_rates_taken(self) -> int:
        """How many of the rates known in advance have been used since :meth:`follow_schedule`."""
        return int(self._taken)

    @property
    def writes_back(self) -> bool:
        """Whether :meth:`write_back` has anything to do."""
        return self._rates is not None or any(group.changes_rate for group in self._groups)

    def write_back(self) -> None:
        """Show the owners of options what steps did to their learning rates.

        Of rates known in advance a scheduler learns by :func:`ember.optim.schedules.advance`.
        """
        if self._rates is not None:
            if any(record.scheduler is not None for record in self.slots):
                return
            rate = float(self._rates[min(int(self._taken), self._rates.numel() - 1)])
            self._show_rates([rate] * len(self._groups))
        elif any(group.changes_rate for group in self._groups):
            changed = [
                group.rate_buffer.item() if group.changes_rate else group.rate for group in self._groups
            ]
            self._show_rates(changed)

    def _show_rates(self, rates: Sequence[float]) -> None:
        is_current = self._records.is_unchanged_since(self._noted)
        for group, rate in zip(self._groups, rates, strict=True):
            if rate != group.rate:
                group.rate = rate
                for record in group.records:
                    record.options["lr"] = rate
        for record, known in zip(self.slots, self._options, strict=True):
            if "lr" in known:
                known["lr"] = record.options["lr"]
        if is_current:
            self._noted = self._records.changes.number


def _clip_together(updates: Sequence[RuleUpdate | ForeignUpdate]) -> None:
    """Limit the norm of the gradient of all parameters."""
    limits = dict.fromkeys(u.clip.global_norm for u in updates if u.clip.global_norm is not None)
    for limit in limits:
        limited = [update for update in updates if update.clip.global_norm == limit]
        clipped = iter(clip_global_norm([grad for update in limited for grad in update.grads], limit))
        for update in limited:
            update.grads = [next(clipped) for _ in update.grads]


def _decays(record: Record) -> bool:
    rule = RULES.get(record.kind)
    # A decay by a factor of one is none.
    return rule is not None and rule.next_rate is not None and record.options["lrd"] != 1.0


def _values(records: Sequence[Record]) -> list[Any]:
    return [value for record in records for value in record.values.values()]


def _options_key(record: Record) -> object:
    # A scheduler's initial_lr and the like describe the schedule, not the update.
    defaults = record.template.defaults
    fixed = {key: value for key, value in record.options.items() if key not in _VARYING and key in defaults}
    return (record.kind, repr(sorted(fixed.items())), record.rate)


def _check(record: Record) -> None:
    name = record.kind.__name__
    if record.kind in _UNTRACEABLE or not updates_each_parameter(record.kind):
        raise CaptureError(f"{name} cannot be recorded; torch runs its update after the captured gradients")
    if record.has_hooks:
        raise CaptureError(f"{name} has hooks around its step; torch runs its update")
    if getattr(record.scheduler, "cycle_momentum", False):
        raise CaptureError(
            f"{type(record.scheduler).__name__} changes more than learning rates; torch runs the update"
        )
    if not record.has_one_group:
        raise CaptureError(f"{name} has several groups of parameters; torch runs its update")
    if any(isinstance(value, Tensor) for key, value in record.options.items() if key != "params"):
        raise CaptureError(f"{name} has an option that is a tensor; torch runs its update")
    for key, value in record.values.items():
        if value is not None and not isinstance(value, Tensor):
            raise CaptureError(f"{name} keeps {key!r} as {type(value).__name__}; torch runs its update")
