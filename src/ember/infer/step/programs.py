"""The step of an SVI as captured programs: one for each kind of arguments, checked against eager before it is trusted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ember.capture import backend as backends
from ember.capture.blame import explain
from ember.capture.choice import backend_of
from ember.capture.graph import capture
from ember.capture.report import Capture, Report
from ember.capture.signature import ById, callable_key, take_apart
from ember.errors import CaptureError, CaptureMismatchError
from ember.infer.losses.values import is_finite, to_floats, warn_if_nan
from ember.infer.objectives.elbo import ELBO
from ember.infer.objectives.energy_distance import EnergyDistance
from ember.infer.step import agreement as capture_check
from ember.infer.step.agreement import EagerStep
from ember.infer.step.function import Guarding, StepFunction, UpdateError
from ember.infer.step.last_call import LastCall
from ember.infer.step.program import StepProgram
from ember.modules import Registered, registered_modules
from ember.nn.context import module_local_params
from ember.ops.scalars import zero_grads
from ember.optim.traced import TracedUpdate
from ember.poutine.runtime import am_i_wrapped

if TYPE_CHECKING:
    from ember.infer.step.svi import SVI

logger = logging.getLogger("ember.capture")
_MAX_ENTRIES = 64
# So many times the options of an optimizer (but learning rates) may be changed before its update is left to torch.
_MAX_OPTION_CHANGES = 3
# Objectives whose attributes are settings.
_SETTINGS = (ELBO, EnergyDistance)
# A recording switches validation off for a while, for all threads, and puts it back.
_ONE_AT_A_TIME = threading.RLock()


@dataclass
class _Seen:
    """A kind of arguments that has run eagerly once: parameters and optimizer state have come into being."""

    names: list[str]
    modules: Registered
    reason: str = "second call with such arguments"
    option_changes: int = 0


class CapturedStep:
    """Programs by key, for one SVI.

    The first call of a key runs eagerly, the second captures and is compared with an eager run from the same state and seed, all
    others are one call of the program. A program whose parameters, optimizer or modules have changed is forgotten: its key starts
    anew.
    """

    def __init__(self, svi: SVI, report: Report) -> None:
        self._svi = svi
        self._report = report
        # A text says why there is no program. (An exception that is raised again and again would collect frames.)
        self._entries: dict[Hashable, _Seen | StepProgram | str] = {}
        self._identity = IdentityKey(svi)
        self._last: LastCall | None = None
        self._backend: backends.Backend | None = None

    @property
    def backend(self) -> backends.Backend:
        """What compiles: as this SVI says, else as the setting does."""
        return backend_of(self._svi.backend) if self._backend is None else self._backend

    @backend.setter
    def backend(self, backend: backends.Backend) -> None:
        self._backend = backend

    def step(self, args: tuple[Any, ...], kwargs: dict[str, Any], guarding: Guarding) -> Any:
        """One step; the loss as a float. Raises CaptureError if it cannot be captured."""
        last = self._last
        if (
            not kwargs
            and last is not None
            and last.fits(self._svi, args, guarding)
            and last.program.outdated(self._svi.optim) is None
        ):
            last.program.record.calls += 1
            return self._finish(last.program, last.tensors)
        program, tensors, result = self.program(args, kwargs, guarding)
        if program is None:
            self._last = None
            return result
        noted = not kwargs and LastCall.can_be_noted(args)
        self._last = LastCall(self._svi, program, args, guarding) if noted else None
        program.record.calls += 1
        return self._finish(program, tensors)

    def program(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        guarding: Guarding,
        eager: EagerStep | None = None,
    ) -> tuple[StepProgram | None, list[Tensor], Any]:
        """The program for these arguments and their tensors; or, if there is none yet, the loss of an eager step.

        Args:
            args: of model and guide.
            kwargs: of model and guide.
            guarding: what the program does about losses that are not finite.
            eager: takes the eager step, and does the same about them.
        """
        svi = self._svi
        if eager is None:
            eager = lambda observe: svi._eager_step(args, kwargs, observe)  # noqa: E731
        return self._program(("step", guarding), args, kwargs, guarding, eager, capture_check.step_agrees)

    def evaluate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The loss as a float, with nothing changed."""
        svi = self._svi
        program, tensors, result = self._program(
            ("evaluate_loss",),
            args,
            kwargs,
            "off",
            lambda observe: svi._eager_loss(args, kwargs),
            capture_check.loss_agrees,
        )
        if program is None:
            return result
        program.record.calls += 1
        loss = program.program.loss(program.inputs(tensors))
        warn_if_nan(loss)
        return loss

    def _program(
        self,
        what: tuple[str, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        guarding: Guarding,
        eager: EagerStep,
        agrees: Callable[[StepProgram, EagerStep, Sequence[Tensor]], Any],
    ) -> tuple[StepProgram | None, list[Tensor], Any]:
        tensors: list[Tensor] = []
        key = self._key(what, args, kwargs, tensors)
        entry = self._entries.get(key)
        if isinstance(entry, StepProgram):
            outdated = entry.outdated(self._svi.optim)
            if outdated is None and entry.trusted:
                return entry, tensors, None
            if outdated is not None:
                return None, tensors, self._seen(key, eager, outdated, entry)
        if isinstance(entry, str):
            raise CaptureError(entry)
        if entry is None or (isinstance(entry, _Seen) and not self._is_known(entry)):
            return None, tensors, self._seen(key, eager)
        if isinstance(entry, _Seen):
            reason = entry.reason
            try:
                entry = self._captured(entry, what[0], args, kwargs, tensors, guarding)
            except Exception as error:
                raise self._refused(key, what[0], reason, explain(error)) from error
            self._entries[key] = entry
        return None, tensors, self._checked(key, entry, lambda program: agrees(program, eager, tensors))

    def _seen(
        self, key: Hashable, eager: EagerStep, changed: str | None = None, old: StepProgram | None = None
    ) -> Any:
        """Run eagerly, and note what a recording needs to know."""
        self._report.eager_calls += 1
        self._entries.pop(key, None)
        with registered_modules() as modules:
            names, result = eager(None)
        if names is not None:
            seen = self._entries[key] = _Seen(names, modules)
            if changed is not None and old is not None:
                seen.reason = changed
                seen.option_changes = old.option_changes + changed.startswith("options")
            self._forget_some()
        return result

    def _forget_some(self) -> None:
        """Keep arguments that are different in every call (a number that counts steps, say) from filling the memory."""
        if len(self._entries) > _MAX_ENTRIES:
            logger.warning(
                "more than %d kinds of arguments, each of which needs a program of its own: pass numbers that change from "
                "step to step as tensors",
                _MAX_ENTRIES,
            )
            for key in [key for key, entry in self._entries.items() if isinstance(entry, _Seen)][:-1] or list(
                self._entries
            )[:1]:
                del self._entries[key]

    def _is_known(self, seen: _Seen) -> bool:
        known = {*self._svi._store()._params, *seen.modules.local}
        return all(name in known for name in seen.names)

    def _checked(self, key: Hashable, program: StepProgram, check: Callable[[StepProgram], Any]) -> Any:
        try:
            result = check(program)
        except CaptureMismatchError as error:
            self._entries[key] = program.record.failure = str(error)
            raise
        # A loss of NaN gives no verdict: the next call is checked too.
        program.trusted = is_finite(result) or not self._svi._has_value
        return result

    def _refused(self, key: Hashable, what: str, reason: str, refusal: CaptureError) -> CaptureError:
        self._entries[key] = str(refusal)
        self._report.captures.append(Capture(what, reason, failure=str(refusal)))
        return refusal

    def _key(self, what: tuple[str, ...], args: Any, kwargs: Any, tensors: list[Tensor]) -> Hashable:
        if am_i_wrapped():
            raise CaptureError(
                "the step cannot be captured: handlers are active around it\n"
                "The way out: apply them to model and guide instead, or run eagerly (compile=False)."
            )
        return (
            what,
            self._identity(),
            take_apart(args, tensors),
            take_apart(kwargs, tensors) if kwargs else None,
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_autocast_enabled(),
            module_local_params(),
            self.backend.name,
        )

    def _captured(
        self,
        seen: _Seen,
        what: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        guarding: Guarding,
    ) -> StepProgram:
        svi = self._svi
        if any(tensor.requires_grad for tensor in tensors):
            raise CaptureError(
                "the step cannot be captured: an argument requires gradients\nThe way out: pass tensor.detach()."
            )
        store = svi._store()
        train = what == "step"
        function = StepFunction(
            svi._loss_terms,
            store,
            seen.names,
            (args, kwargs),
            seen.modules,
            None,
            guarding,
            train,
            svi._has_value,
        )
        leaves = [leaf for name in seen.names if (leaf := function.leaf(name)) is not None]
        function.update, note = _traced_update(svi, leaves, seen.option_changes) if train else (None, "none")
        with _ONE_AT_A_TIME:
            try:
                return self._compiled(
                    function, leaves, tensors, Capture(what, seen.reason, optimizer=note), seen
                )
            except UpdateError as error:
                function.update = None
                note = f"by torch (its update cannot be recorded: {error})"
                return self._compiled(
                    function, leaves, tensors, Capture(what, seen.reason, optimizer=note), seen
                )

    def _compiled(
        self,
        function: StepFunction,
        leaves: list[Tensor],
        tensors: list[Tensor],
        record: Capture,
        seen: _Seen,
    ) -> StepProgram:
        device = leaves[0].device if leaves else None
        bad_steps = torch.zeros((), dtype=torch.int64, device=device)
        state = function.update.tensors if function.update is not None else []
        fixed = [*(leaf.detach() for leaf in leaves), *state, bad_steps]
        started = time.perf_counter()
        graph = capture(function, [*fixed, *tensors])
        traced = time.perf_counter()
        program = self.backend.compile(graph, [*fixed, *tensors, *graph.lifted])
        record.num_nodes, record.backend, record.note = graph.num_nodes, program.backend, program.note
        record.source = program.source
        record.trace_seconds, record.compile_seconds = traced - started, time.perf_counter() - traced
        self._report.captures.append(record)
        parts = [part for module in seen.modules for part in module.modules()]
        return StepProgram(
            function,
            leaves,
            graph,
            program,
            record,
            bad_steps,
            parts,
            fixed,
            option_changes=seen.option_changes,
        )

    def _finish(self, program: StepProgram, tensors: Sequence[Tensor]) -> Any:
        """Call the program, and do what is left: the optimizer, if it was not captured, and the check of the loss."""
        svi, function = self._svi, program.function
        inputs = program.inputs(tensors)
        outputs: Sequence[Tensor] = ()
        if function.update is not None:
            loss = program.program.loss(inputs)
            function.update.write_back()
        else:
            outputs = program.program(inputs)
            loss = to_floats(outputs[0])
        if function.guarding == "halt":
            svi._check_captured_loss(loss, program.bad_steps)
        elif function.guarding == "off":
            warn_if_nan(loss)
        if function.update is None:
            apply_gradients(svi, program, outputs[1:])
        return loss


class IdentityKey:
    """A small key for the programs, the objective with its settings, and the store: one object for each combination."""

    def __init__(self, svi: SVI) -> None:
        self._svi = svi
        self._known: dict[Hashable, object] = {}
        self._last: tuple[Any, ...] = ()
        self._settings: dict[str, Any] = {}
        self._token: object = None

    def __call__(self) -> object:
        svi = self._svi
        objective = svi._objective
        parts = (svi.model, svi.guide, svi.loss, svi.loss_and_grads, objective, svi._store())
        owner = objective if isinstance(objective, _SETTINGS) else getattr(objective, "__self__", None)
        settings = vars(owner) if isinstance(owner, _SETTINGS) else {}
        if not (self._last and all(map(is_, parts, self._last)) and _equal(settings, self._settings)):
            model, guide, loss, loss_and_grads, _, store = parts
            programs = (
                callable_key(model),
                callable_key(guide),
                callable_key(loss),
                callable_key(loss_and_grads),
            )
            key = (programs, svi._loss_key(), take_apart(settings, []), ById(store))
            if len(self._known) >= _MAX_ENTRIES:
                self._known.clear()
            self._token = self._known.setdefault(key, object())
            self._last, self._settings = parts, dict(settings)
        return self._token


def _equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    try:
        return a == b
    except RuntimeError:  # tensors of several entries have no plain comparison
        return False


def apply_gradients(svi: SVI, program: StepProgram, grads: Sequence[Tensor]) -> None:
    """Let torch's optimizer take a step with captured gradients."""
    for leaf, grad, has in zip(program.leaves, grads, program.function.with_gradient, strict=True):
        leaf.grad = grad if has else None
    with svi._active_store():
        svi.optim(program.leaves)
    zero_grads(program.leaves)


def run_steps(
    program: StepProgram, tensors: Sequence[Tensor], num_steps: int, until_bad: bool = False
) -> Iterator[Tensor]:
    """Losses of many steps, as tensors, none of them waited for. The optimizer must have been captured."""
    program.record.calls += num_steps
    return program.program.run(program.inputs(tensors), num_steps, until_bad)


def _traced_update(svi: SVI, leaves: list[Tensor], option_changes: int) -> tuple[TracedUpdate | None, str]:
    with svi._active_store():
        plan = svi.optim.plan(leaves)
    scheduled = any(slot.scheduler is not None for slot in plan.slots)
    if option_changes > (0 if scheduled else _MAX_OPTION_CHANGES):
        return None, "by torch (its options, and not the learning rate alone, change in training)"
    try:
        return TracedUpdate(plan), "captured"
    except CaptureError as error:
        return None, f"by torch ({error})"
