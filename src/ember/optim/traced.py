"""The update of an optimizer as a function of tensors, for recording it in a graph.

The torch classes' own update code runs, on the tensors that are given to it. Learning rates are tensors, so that a schedule
never asks for a new recording; counters of steps are computed with in the dtype of their parameter.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter, is_
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from ember.capture.provenance import works_for
from ember.errors import CaptureError
from ember.optim.changes import CHANGES, Options
from ember.optim.clipping import Clipper
from ember.optim.merged import _PARAMETERWISE, StepPlan, _has_hooks
from ember.optim.slots import Slot, SlotTable

# Muon computes in bfloat16, in which other rounding shows.
_UNTRACEABLE: frozenset[type[Optimizer]] = frozenset(
    {torch.optim.Adafactor, torch.optim.LBFGS, torch.optim.Muon, torch.optim.SparseAdam}
)
_VARYING = ("params", "lr")
_rule, _state, _groups = attrgetter("rule"), attrgetter("state"), attrgetter("param_groups")
_COMPILING = threading.Lock()


class _Group:
    """Parameters with the same rule, options and learning rate."""

    def __init__(self, slots: list[Slot], indices: list[int]) -> None:
        self.slots = slots
        self.indices = indices
        self.rule = slots[0].rule
        self.options = _fixed_options(self.rule)
        self.rate = _rate(self.rule)
        self.rate_buffer = torch.tensor(self.rate, dtype=torch.float64, device=slots[0].param.device)
        self.changes_rate = False
        self.names: dict[int, str | None] = {}
        """Names of the parameters in the present run, by identity: for :func:`_updated`."""


class TracedUpdate:
    """The update of the parameters of a :class:`StepPlan`, on tensors given from outside.

    Raises:
        CaptureError: if the rule, its options or its state cannot be recorded.
    """

    def __init__(self, plan: StepPlan) -> None:
        self.slots = plan.slots
        by_options: dict[Any, list[int]] = {}
        for index, slot in enumerate(self.slots):
            _check(slot)
            key = (type(slot.rule), repr(sorted(_fixed_options(slot.rule).items())), _rate(slot.rule))
            by_options.setdefault(key, []).append(index)
        self._groups = [_Group([self.slots[i] for i in indices], indices) for indices in by_options.values()]
        self._rules = [slot.rule for slot in self.slots]
        self._owners = [rule.state for rule in self._rules]
        self._states: list[dict[str, Any]] = [slot.rule.state[slot.param] for slot in self.slots]
        self._values = _values(self._states)
        # Copies of the options, whose learning rates follow.
        self._options = [dict(rule.param_groups[0]) for rule in self._rules]
        self._known_slots: list[Slot] = []
        self._noted = -1
        self._noted_table: SlotTable | None = None
        self._changes_rate = False
        self.tensors: list[Tensor] = [
            *(value for state in self._states for value in _tensors_of(state).values()),
            *(group.rate_buffer for group in self._groups),
        ]

    def outdated(self, table: SlotTable) -> Literal["state", "options"] | None:
        """What is no longer as it was recorded, in an optimizer with this table: state objects, options, or nothing.

        New learning rates are no change; they are written to the graph's inputs on the way.
        """
        if table is self._noted_table and self._is_as_noted():
            return None
        found = self._compared(table)
        if found is None:
            self._noted_table = table
            self._note()
        return found

    def _note(self) -> None:
        """Note what tells, without a comparison of all options, that nothing has changed."""
        self._noted_options = [groups[0] for groups in map(_groups, self._rules)]
        watched = all(isinstance(options, Options) for options in self._noted_options)
        self._noted = CHANGES.number if watched else -1
        self._hooks = [
            hooks
            for r in self._rules
            for hooks in (r._optimizer_step_pre_hooks, r._optimizer_step_post_hooks)
        ]

    def _is_as_noted(self) -> bool:
        return (
            self._noted == CHANGES.number
            and all(map(is_, [rule.param_groups[0] for rule in self._rules], self._noted_options))
            and not any(self._hooks)
            and sum(map(len, self._states)) == len(self._values)
            and all(map(is_, chain.from_iterable(map(dict.values, self._states)), self._values))
        )

    def _compared(self, table: SlotTable) -> Literal["state", "options"] | None:
        if not (
            self._owns(table)
            and all(map(is_, map(_rule, self.slots), self._rules))
            and all(map(is_, map(_state, self._rules), self._owners))
            and len(values := _values(self._states)) == len(self._values)
            and all(map(is_, values, self._values))
        ):
            return "state"
        if any(map(_has_hooks, self._rules)):
            return "options"
        options = [groups[0] for groups in map(_groups, self._rules)]
        try:
            return None if options == self._options or self._follow_rates(options) else "options"
        except RuntimeError:  # options that hold tensors of several entries have no plain comparison
            return "options"

    def _owns(self, table: SlotTable) -> bool:
        slots = list(table)
        if not (len(slots) == len(self._known_slots) and all(map(is_, slots, self._known_slots))):
            if not {id(slot) for slot in self.slots} <= {id(slot) for slot in slots}:
                return False
            self._known_slots = slots
        return True

    def _follow_rates(self, options: list[dict[str, Any]]) -> bool:
        """Take up new learning rates; False if something else has changed, or the rates of a group differ now."""
        for now, known in zip(options, self._options, strict=True):
            if "lr" in now and not isinstance(now["lr"], Tensor):
                known["lr"] = now["lr"]
            if now != known:
                return False
        for group in self._groups:
            rate = _rate(group.rule)
            if any(_rate(slot.rule) != rate for slot in group.slots):
                return False
            if rate != group.rate:
                group.rate = rate
                group.rate_buffer.fill_(rate)
        return True

    def apply(
        self, params: Sequence[Tensor], grads: Sequence[Tensor | None], tensors: Sequence[Tensor]
    ) -> None:
        """Update ``params`` and ``tensors`` (as in :attr:`tensors`) in place. A gradient of None leaves a parameter alone."""
        remaining = iter(tensors)
        states = [{key: next(remaining) for key in _tensors_of(state)} for state in self._states]
        rates = list(remaining)
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        clip = Clipper((param, slot.clip) for param, slot in zip(params, self.slots, strict=True))
        if clip:
            clip()
        for group, rate in zip(self._groups, rates, strict=True):
            _apply_group(group, [params[i] for i in group.indices], [states[i] for i in group.indices], rate)
        self._changes_rate = any(group.changes_rate for group in self._groups)
        for param in params:
            param.grad = None

    def write_back(self) -> None:
        """Show the owners of options what a step did to a learning rate (ClippedAdam's decay)."""
        if not self._changes_rate:
            return
        for group in self._groups:
            if group.changes_rate:
                group.rate = group.rate_buffer.item()
                for slot in group.slots:
                    slot.rule.param_groups[0]["lr"] = group.rate
        for rule, known in zip(self._rules, self._options, strict=True):
            known["lr"] = rule.param_groups[0]["lr"]


def _check(slot: Slot) -> None:
    kind = type(slot.rule)
    # A foreign class says by an attribute of its own that it updates each parameter by itself.
    known = kind in _PARAMETERWISE or vars(kind).get("parameterwise", False)
    if kind in _UNTRACEABLE or not known:
        raise CaptureError(
            f"{kind.__name__} cannot be recorded; torch runs its update after the captured gradients"
        )
    if _has_hooks(slot.rule):
        raise CaptureError(f"{kind.__name__} has hooks around its step; torch runs its update")
    if getattr(slot.scheduler, "cycle_momentum", False):
        raise CaptureError(
            f"{type(slot.scheduler).__name__} changes more than learning rates; torch runs the update"
        )
    if len(slot.rule.param_groups) != 1:
        raise CaptureError(f"{kind.__name__} has several groups of parameters; torch runs its update")
    options = slot.rule.param_groups[0]
    if any(isinstance(value, Tensor) for key, value in options.items() if key != "params"):
        raise CaptureError(f"{kind.__name__} has an option that is a tensor; torch runs its update")
    for key, value in slot.rule.state[slot.param].items():
        if value is not None and not isinstance(value, Tensor):
            raise CaptureError(
                f"{kind.__name__} keeps {key!r} as {type(value).__name__}; torch runs its update"
            )


def _fixed_options(rule: Optimizer) -> dict[str, Any]:
    # A scheduler's initial_lr and the like describe the schedule, not the update.
    return {k: v for k, v in rule.param_groups[0].items() if k not in _VARYING and k in rule.defaults}


def _rate(rule: Optimizer) -> float:
    return float(rule.param_groups[0].get("lr", 0.0))


def _values(states: list[dict[str, Any]]) -> list[Any]:
    return list(chain.from_iterable(map(dict.values, states)))


def _tensors_of(state: dict[str, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _updated(frame: FrameType, innermost: FrameType) -> str | None:
    """The optimizer and the parameter that its code is at: torch's classes, and Ember's, have it in a loop's variable."""
    group = frame.f_locals["group"]
    current: FrameType | None = innermost
    while current is not None and current is not frame:
        for name in ("param", "p"):
            known = group.names.get(id(current.f_locals.get(name)))
            if known is not None:
                return f"{type(group.rule).__name__}: {known}"
        current = current.f_back
    return type(group.rule).__name__


@works_for(_updated)
def _apply_group(group: _Group, params: list[Tensor], states: list[dict[str, Tensor]], rate: Tensor) -> None:
    group.names = {id(param): slot.name for slot, param in zip(group.slots, params, strict=True)}
    by_dtype: dict[torch.dtype, list[int]] = defaultdict(list)
    for index, param in enumerate(params):
        by_dtype[param.dtype].append(index)
    before = rate.clone()
    for dtype, indices in by_dtype.items():
        after = _apply_shell(
            group, [params[i] for i in indices], [states[i] for i in indices], before.to(dtype)
        )
        if after is not None:
            # ClippedAdam decays its learning rate in every step, be it by a factor of one.
            group.changes_rate = group.options.get("lrd") != 1.0
            rate.copy_(torch.where(before == 0, before, after.to(before.dtype)))


def _apply_shell(
    group: _Group, params: list[Tensor], states: list[dict[str, Tensor]], rate: Tensor
) -> Tensor | None:
    """Run the class's update on an optimizer object that holds the given tensors; returns the rate if it changed."""
    kind = type(group.rule)
    shell: Any = kind.__new__(kind)
    shell.__dict__.update({key: value for key, value in vars(group.rule).items() if key != "step"})
    # Torch's recordable Adam divides by the rate: of a gradient that is zero, a rate of zero would make NaN.
    rate = torch.where(rate == 0, torch.finfo(rate.dtype).tiny, rate)
    version = rate._version
    options = {**group.options, "params": params}
    if "lr" in group.rule.param_groups[0]:
        options["lr"] = rate
    options.update({key: value for key, value in _RECORDABLE.items() if key in options})
    shell.param_groups = [options]
    exact = [{k: (v.to(rate.dtype) if k == "step" else v) for k, v in state.items()} for state in states]
    shell.state = defaultdict(dict, zip(params, exact, strict=True))
    update = kind.step
    with _marked_as_compiling(), _TensorFactors():
        getattr(update, "__wrapped__", update)(shell)
    for state, new in zip(states, exact, strict=True):
        for key, value in state.items():
            if new[key] is not value:
                value.copy_(new[key])
    given_back: Tensor = options.get("lr", rate)
    return given_back if given_back is not rate or rate._version != version else None


class _TensorFactors(TorchFunctionMode):
    """Lets a learning rate that is a tensor stand where torch's in-place operators take a number only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if isinstance(kwargs.get("alpha"), Tensor) and func is Tensor.add_:
            return args[0].add_(args[1] * kwargs["alpha"])
        if isinstance(kwargs.get("value"), Tensor) and func is Tensor.addcdiv_:
            return args[0].add_(args[1] / args[2] * kwargs["value"])
        if isinstance(kwargs.get("value"), Tensor) and func is Tensor.addcmul_:
            return args[0].add_(args[1] * args[2] * kwargs["value"])
        return func(*args, **kwargs)


_RECORDABLE = {"foreach": False, "fused": False, "capturable": True, "differentiable": False}


@contextmanager
def _marked_as_compiling() -> Iterator[None]:
    """Torch's optimizers read numbers off their counters unless they are being compiled: in this thread, they are."""
    with _COMPILING:
        before = torch.compiler.is_compiling
        here = threading.get_ident()
        torch.compiler.is_compiling = lambda: threading.get_ident() == here or before()
        try:
            yield
        finally:
            torch.compiler.is_compiling = before
