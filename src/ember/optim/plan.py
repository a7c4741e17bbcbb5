"""One eager step of many parameters: one torch optimizer for all of a class, for the batched kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.clipping import Clipper
from ember.optim.foreign import Options, shell, updates_each_parameter
from ember.optim.records import Record, Records

_FUSED: frozenset[type[Optimizer]] = frozenset({torch.optim.Adam, torch.optim.AdamW})
# torch's batched ASGD rounds its step sizes differently from the plain one, to float32 even for float64
# parameters.
_NOT_BATCHED: frozenset[type[Optimizer]] = frozenset({torch.optim.ASGD})
_CHOICES = ("foreach", "fused", "capturable", "differentiable")


def _can_merge(record: Record) -> bool:
    return updates_each_parameter(record.kind) and not record.is_special


def _options_key(record: Record) -> object:
    options = record.options
    try:
        key = (
            record.kind,
            *((k, id(v) if isinstance(v, Tensor) else v) for k, v in options.items() if k != "params"),
        )
        hash(key)
    except TypeError:
        return id(record)
    return key


def _fast_flags(kind: type[Optimizer], options: dict[str, Any], params: Sequence[Tensor]) -> dict[str, bool]:
    """The batched kernel to use, where the user has chosen none and its numbers are right up to rounding."""
    if "foreach" not in options or any(options.get(flag) for flag in _CHOICES):
        return {}
    if options["foreach"] is not None or options.get("fused") is not None:
        return {}
    if any(isinstance(value, Tensor) for value in options.values()):
        return {}
    if any(param.device.type not in ("cpu", "cuda") for param in params):
        return {}
    # The fused kernel walks raw memory: it is right for contiguous tensors only.
    precise = all(param.dtype in (torch.float32, torch.float64) and param.is_contiguous() for param in params)
    if kind in _FUSED and precise:
        return {"fused": True}
    return {"foreach": True} if len(params) > 1 and kind not in _NOT_BATCHED else {}


class _StateOfOwners(Mapping[Tensor, Any]):
    """Looks a parameter's state up where it is kept: loaded state is seen at once."""

    __slots__ = ("_records",)

    def __init__(self, records: dict[int, Record]) -> None:
        self._records = records

    def __getitem__(self, param: Tensor) -> Any:
        return self._records[id(param)].state[param]

    def __iter__(self) -> Iterator[Tensor]:
        return (record.param for record in self._records.values())

    def __len__(self) -> int:
        return len(self._records)


class _Group:
    """Parameters of equal options: a group of the merged optimizer, and the owners of the options."""

    __slots__ = ("options", "owners", "params", "seen")

    def __init__(self, records: Sequence[Record]) -> None:
        self.owners = records
        self.params = [record.param for record in records]
        first = records[0]
        self.options: Options = {**first.options, "params": self.params}
        self.options.update(_fast_flags(first.kind, self.options, self.params))
        self.seen = dict(self.options)
        if self.is_fused:
            for record in records:
                self._prepare_for_fused(record)

    @property
    def is_fused(self) -> bool:
        return bool(self.options.get("fused"))

    @staticmethod
    def _prepare_for_fused(record: Record) -> None:
        state = record.values
        for key, value in list(state.items()):
            if key == "step":
                state[key] = torch.as_tensor(value).to(dtype=torch.float32, device=record.param.device)
            elif isinstance(value, Tensor):
                state[key] = value.contiguous()

    def make_grads_contiguous(self) -> None:
        for param in self.params:
            grad = param.grad
            if grad is not None and not grad.is_sparse and not grad.is_contiguous():
                param.grad = grad.contiguous()

    def share_changes(self, snapshots: dict[int, Options]) -> None:
        """Give options that the step has changed, such as a decayed learning rate, to their owners."""
        if self.options == self.seen:
            return
        changed = {key: value for key, value in self.options.items() if self.seen.get(key) is not value}
        self.seen.update(changed)
        for owner in self.owners:
            owner.options.update(changed)
            snapshots[id(owner)].update(changed)


class _Merged:
    """One torch optimizer for the parameters of many."""

    __slots__ = ("_groups", "_optimizer", "_snapshots")

    def __init__(self, records: Sequence[Record], snapshots: dict[int, Options]) -> None:
        alike: dict[object, list[Record]] = {}
        for record in records:
            alike.setdefault(_options_key(record), []).append(record)
        self._groups = [_Group(members) for members in alike.values()]
        self._snapshots = snapshots
        state = _StateOfOwners({id(record.param): record for record in records})
        self._optimizer = shell(records[0].template, [group.options for group in self._groups], state)

    def is_current(self) -> bool:
        return all(all(map(Tensor.is_contiguous, group.params)) for group in self._groups if group.is_fused)

    def step(self, *args: Any, **kwargs: Any) -> None:
        for group in self._groups:
            if group.is_fused:
                group.make_grads_contiguous()
        self._optimizer.step(*args, **kwargs)
        for group in self._groups:
            group.share_changes(self._snapshots)


class StepPlan:
    """How to step one set of parameters: what to merge and how to clip. Reused while nothing changes.

    The update reads and writes only tensors and dictionaries: parameters, their gradients, and the options and state of their
    records.

    Args:
        slots: the records of the parameters.
        records: all of the optimizer.
        steps_itself: the class of the optimizer, if its calls do more than to take this step.
    """

    def __init__(self, slots: Iterable[Record], records: Records, steps_itself: type | None = None) -> None:
        self.steps_itself = steps_itself
        self.slots = list({id(record): record for record in slots}.values())
        self.records = records
        self._clip = Clipper((record.param, record.clip) for record in self.slots)
        by_kind: dict[type[Optimizer], list[Record]] = {}
        self._alone: list[Record] = []
        for record in self.slots:
            if _can_merge(record):
                by_kind.setdefault(record.kind, []).append(record)
            else:
                self._alone.append(record)
        together = [record for members in by_kind.values() for record in members]
        snapshots = {id(record): dict(record.options) for record in together}
        self._merged = [_Merged(members, snapshots) for members in by_kind.values()]
        self._watched = [(record, record.kind, snapshots[id(record)], record.state) for record in together]
        self._all_watched = not self._alone and all(record.is_watched for record in together)
        self._unmarked = [record.rule for record in together if record.scheduler is not None]
        self._noted = records.changes.number if self._all_watched else -1

    def is_current(self) -> bool:
        """Whether options, state objects and memory layouts are still those that the plan was made for."""
        if not self.records.is_unchanged_since(self._noted) and not self._compared():
            return False
        return all(merged.is_current() for merged in self._merged)

    def _compared(self) -> bool:
        self.records.follow()
        try:
            for record, kind, snapshot, state in self._watched:
                if (
                    record.kind is not kind
                    or record.state is not state
                    or record.is_special
                    or record.options != snapshot
                ):
                    return False
        except RuntimeError:  # options that hold tensors of several entries have no plain comparison
            return False
        self._noted = self.records.changes.number if self._all_watched else -1
        return True

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Clip the gradients and update the parameters; arguments go to the torch optimizer's ``step``."""
        if self._clip:
            self._clip()
        for merged in self._merged:
            merged.step(*args, **kwargs)
        for record in self._alone:
            record.rule.step(*args, **kwargs)
        # Schedulers warn when their optimizer has not stepped; this is the mark that they look for.
        for rule in self._unmarked:
            rule._opt_called = True  # type: ignore[attr-defined]
        self._unmarked.clear()
