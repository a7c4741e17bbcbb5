"""One step of many parameters: their torch optimizers merged into one, for the batched kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.clipping import Clipper
from ember.optim.slots import Slot

# Classes whose update of a parameter depends on that parameter alone. A foreign class says so by an attribute
# `parameterwise = True` of its own; without it, and with subclasses, every parameter's optimizer is stepped
# by itself.
_PARAMETERWISE: frozenset[type[Optimizer]] = frozenset(
    {
        torch.optim.Adadelta,
        torch.optim.Adafactor,
        torch.optim.Adagrad,
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.Adamax,
        torch.optim.ASGD,
        torch.optim.Muon,
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.RMSprop,
        torch.optim.Rprop,
        torch.optim.SGD,
        torch.optim.SparseAdam,
    }
)
_FUSED: frozenset[type[Optimizer]] = frozenset({torch.optim.Adam, torch.optim.AdamW})
# torch's batched ASGD rounds its step sizes differently from the plain one, to float32 even for float64
# parameters.
_NOT_BATCHED: frozenset[type[Optimizer]] = frozenset({torch.optim.ASGD})
_CHOICES = ("foreach", "fused", "capturable", "differentiable")


def _can_merge(rule: Optimizer) -> bool:
    kind = type(rule)
    known = kind in _PARAMETERWISE or vars(kind).get("parameterwise", False)
    return known and len(rule.param_groups) == 1 and not _has_hooks(rule)


def _has_hooks(rule: Optimizer) -> bool:
    return bool(rule._optimizer_step_pre_hooks or rule._optimizer_step_post_hooks)


def _options_key(rule: Optimizer) -> object:
    options = rule.param_groups[0]
    try:
        key = (
            type(rule),
            *((k, id(v) if isinstance(v, Tensor) else v) for k, v in options.items() if k != "params"),
        )
        hash(key)
    except TypeError:
        return id(rule)
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


class _StateOfOwners:
    """Looks a parameter's state up in the optimizer that owns it: loaded state is seen at once."""

    __slots__ = ("_owners",)

    def __init__(self, owners: dict[int, Optimizer]) -> None:
        self._owners = owners

    def __getitem__(self, param: Tensor) -> Any:
        return self._owners[id(param)].state[param]


class _Group:
    """Parameters of equal options: a group of the merged optimizer, and the owners of the options."""

    __slots__ = ("options", "owners", "params", "seen")

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.owners = [slot.rule for slot in slots]
        self.params = [slot.param for slot in slots]
        first = self.owners[0]
        self.options = dict(first.param_groups[0], params=self.params)
        self.options.update(_fast_flags(type(first), self.options, self.params))
        self.seen = dict(self.options)
        if self.is_fused:
            for slot in slots:
                self._prepare_for_fused(slot)

    @property
    def is_fused(self) -> bool:
        return bool(self.options.get("fused"))

    @staticmethod
    def _prepare_for_fused(slot: Slot) -> None:
        state: dict[str, Any] = slot.rule.state.get(slot.param, {})
        for key, value in state.items():
            if key == "step":
                state[key] = torch.as_tensor(value).to(dtype=torch.float32, device=slot.param.device)
            elif isinstance(value, Tensor):
                state[key] = value.contiguous()

    def make_grads_contiguous(self) -> None:
        for param in self.params:
            grad = param.grad
            if grad is not None and not grad.is_sparse and not grad.is_contiguous():
                param.grad = grad.contiguous()

    def share_changes(self, snapshots: dict[int, dict[str, Any]]) -> None:
        """Give options that the step has changed, such as a decayed learning rate, to their owners."""
        if self.options == self.seen:
            return
        changed = {key: value for key, value in self.options.items() if self.seen.get(key) is not value}
        self.seen.update(changed)
        for owner in self.owners:
            owner.param_groups[0].update(changed)
            snapshots[id(owner)].update(changed)


class _Merged:
    """One torch optimizer for the parameters of many, built from a member's attributes."""

    __slots__ = ("_groups", "_optimizer", "_snapshots")

    def __init__(self, slots: Sequence[Slot], snapshots: dict[int, dict[str, Any]]) -> None:
        alike: dict[object, list[Slot]] = {}
        for slot in slots:
            alike.setdefault(_options_key(slot.rule), []).append(slot)
        self._groups = [_Group(members) for members in alike.values()]
        self._snapshots = snapshots
        first = slots[0].rule
        merged: Any = type(first).__new__(type(first))
        # A scheduler replaces the bound `step` of the optimizer that it watches.
        merged.__dict__.update({key: value for key, value in vars(first).items() if key != "step"})
        merged._optimizer_step_pre_hooks = OrderedDict()
        merged._optimizer_step_post_hooks = OrderedDict()
        merged.param_groups = [group.options for group in self._groups]
        merged.state = _StateOfOwners({id(slot.param): slot.rule for slot in slots})
        self._optimizer: Optimizer = merged

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

    The update reads and writes only tensors and dictionaries: ``slot.param``, ``slot.param.grad``,
    ``slot.rule.state[param]`` and the options in ``slot.rule.param_groups[0]``.
    """

    def __init__(self, slots: Iterable[Slot]) -> None:
        self.slots = list({id(slot): slot for slot in slots}.values())
        self._clip = Clipper((slot.param, slot.clip) for slot in self.slots)
        by_kind: dict[type[Optimizer], list[Slot]] = {}
        self._alone: list[Slot] = []
        for slot in self.slots:
            if _can_merge(slot.rule):
                by_kind.setdefault(type(slot.rule), []).append(slot)
            else:
                self._alone.append(slot)
        together = [slot for members in by_kind.values() for slot in members]
        snapshots = {id(slot.rule): dict(slot.rule.param_groups[0]) for slot in together}
        self._merged = [_Merged(members, snapshots) for members in by_kind.values()]
        self._watched = [(slot, slot.rule, snapshots[id(slot.rule)], slot.rule.state) for slot in together]
        self._unmarked = [slot.rule for slot in together if slot.scheduler is not None]

    def is_current(self) -> bool:
        """Whether options, state objects and memory layouts are still those that the plan was made for."""
        try:
            for slot, rule, options, state in self._watched:
                if (
                    slot.rule is not rule
                    or rule.param_groups[0] != options
                    or rule.state is not state
                    or _has_hooks(rule)
                ):
                    return False
        except RuntimeError:  # options that hold tensors of several entries have no plain comparison
            return False
        return all(merged.is_current() for merged in self._merged)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Clip the gradients and update the parameters; arguments go to the torch optimizer's ``step``."""
        if self._clip:
            self._clip()
        for merged in self._merged:
            merged.step(*args, **kwargs)
        for slot in self._alone:
            slot.rule.step(*args, **kwargs)
        # Schedulers warn when their optimizer has not stepped; this is the mark that they look for.
        for rule in self._unmarked:
            rule._opt_called = True  # type: ignore[attr-defined]
        self._unmarked.clear()
