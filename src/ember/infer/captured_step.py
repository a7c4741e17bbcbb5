"""The step of an SVI as captured programs: one for each kind of arguments, checked against eager before it is trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ember.capture import backend as backends
from ember.capture.blame import explain
from ember.capture.graph import CapturedGraph, capture
from ember.capture.report import Capture, Report
from ember.capture.signature import callable_key, take_apart
from ember.errors import CaptureError, CaptureMismatchError
from ember.infer import capture_check
from ember.infer.step_function import Guarding, StepFunction
from ember.modules import registered_modules
from ember.optim.traced import TracedUpdate
from ember.poutine.runtime import am_i_wrapped

if TYPE_CHECKING:
    from ember.infer.svi import SVI


@dataclass
class StepProgram:
    """A compiled step (or loss) and the tensors it works on."""

    function: StepFunction
    leaves: list[Tensor]
    graph: CapturedGraph
    program: backends.Program
    record: Capture
    training_flags: tuple[bool, ...]
    bad_steps: Tensor
    fixed: list[Tensor] = field(default_factory=list)
    """Inputs that stay the same objects: leaves (detached), optimizer state, count of bad steps."""

    def is_current(self) -> bool:
        """Whether parameters, optimizer and modules are still those that the program works on."""
        leaves = self.function.store._params
        if any(leaves.get(name) is not leaf for name, leaf in zip(self.function.names, self.leaves, strict=True)):
            return False
        if training_flags(self.function.modules) != self.training_flags:
            return False
        return self.function.update is None or self.function.update.is_current()

    def inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """All inputs for these arguments."""
        return [*self.fixed, *arguments, *self.graph.lifted]

    def copied_inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """The same with copies in place of what the program changes."""
        lifted = list(self.graph.lifted)
        for index in self.graph.mutated_lifted:
            lifted[index] = lifted[index].detach().clone()
        return [*(tensor.clone() for tensor in self.fixed), *arguments, *lifted]


class _Seen:
    """A kind of arguments that has run eagerly once: parameters and optimizer state have come into being."""

    def __init__(self, names: list[str], modules: list[torch.nn.Module]) -> None:
        self.names = names
        self.modules = modules


class CapturedStep:
    """Programs by key, for one SVI.

    The first call of a key runs eagerly, the second captures and is compared with an eager run from the same state and seed, all
    others are one call of the program.
    """

    def __init__(self, svi: SVI, report: Report) -> None:
        self._svi = svi
        self._report = report
        self._entries: dict[Hashable, _Seen | StepProgram | CaptureError] = {}
        self.backend: backends.Backend = backends.Inductor()

    def step(self, args: tuple[Any, ...], kwargs: dict[str, Any], guarding: Guarding) -> Any:
        """One step; the loss as a float. Raises CaptureError if it cannot be captured."""
        program, tensors, result = self.program(args, kwargs, guarding)
        if program is None:
            return result
        program.record.calls += 1
        return self._finish(program, program.program(program.inputs(tensors)))

    def program(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], guarding: Guarding
    ) -> tuple[StepProgram | None, list[Tensor], Any]:
        """The program for these arguments and their tensors; or, if there is none yet, the loss of an eager step."""
        tensors: list[Tensor] = []
        key = self._key(("step", guarding), args, kwargs, tensors)
        entry = self._entries.get(key)
        reason = "second call with such arguments"
        if isinstance(entry, CaptureError):
            raise entry
        if isinstance(entry, StepProgram):
            if entry.is_current():
                return entry, tensors, None
            reason = "parameters, optimizer options or modules have changed"
            entry = _Seen(entry.function.names, entry.function.modules)
        if entry is None:
            self._report.eager_calls += 1
            with registered_modules() as modules:
                names, result = self._svi._eager_step(args, kwargs)
            self._entries[key] = _Seen(names, modules)
            return None, tensors, result
        try:
            program = self._captured(entry, args, kwargs, tensors, guarding, train=True, reason=reason)
        except Exception as error:
            self._refuse(key, "step", reason, explain(error), error)
        result = self._checked(key, capture_check.step_agrees, program, args, kwargs, tensors)
        return None, tensors, result

    def evaluate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The loss as a float, with nothing changed."""
        tensors: list[Tensor] = []
        key = self._key(("evaluate",), args, kwargs, tensors)
        entry = self._entries.get(key)
        reason = "second call with such arguments"
        if isinstance(entry, CaptureError):
            raise entry
        if isinstance(entry, StepProgram):
            if entry.is_current():
                entry.record.calls += 1
                return entry.program(entry.inputs(tensors))[0].item()
            reason = "parameters or modules have changed"
            entry = _Seen(entry.function.names, entry.function.modules)
        if entry is None:
            self._report.eager_calls += 1
            with registered_modules() as modules:
                names, result = self._svi._eager_loss(args, kwargs)
            self._entries[key] = _Seen(names, modules)
            return result
        try:
            program = self._captured(entry, args, kwargs, tensors, "off", train=False, reason=reason)
        except Exception as error:
            self._refuse(key, "evaluate_loss", reason, explain(error), error)
        return self._checked(key, capture_check.loss_agrees, program, args, kwargs, tensors)

    def _checked(
        self, key: Hashable, check: Callable[..., Any], program: StepProgram, args: Any, kwargs: Any, tensors: list[Tensor]
    ) -> Any:
        try:
            result = check(self._svi, program, args, kwargs, tensors)
        except CaptureMismatchError as error:
            self._entries[key] = error
            program.record.failure = str(error)
            raise
        self._entries[key] = program
        return result

    def _refuse(self, key: Hashable, what: str, reason: str, refusal: CaptureError, cause: Exception) -> None:
        self._entries[key] = refusal
        self._report.captures.append(Capture(what, reason, failure=str(refusal)))
        raise refusal from cause

    def _key(self, what: tuple[Any, ...], args: Any, kwargs: Any, tensors: list[Tensor]) -> Hashable:
        svi = self._svi
        if am_i_wrapped():
            raise CaptureError(
                "the step cannot be captured: handlers are active around it\n"
                "The way out: apply them to model and guide instead, or run eagerly (compile=False)."
            )
        return (
            what,
            callable_key(svi.model),
            callable_key(svi.guide),
            take_apart((args, kwargs), tensors),
            svi._loss_key(),
            id(svi._store()),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
        )

    def _captured(
        self,
        seen: _Seen,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        guarding: Guarding,
        *,
        train: bool,
        reason: str,
    ) -> StepProgram:
        svi = self._svi
        if any(tensor.requires_grad for tensor in tensors):
            raise CaptureError(
                "the step cannot be captured: an argument requires gradients\nThe way out: pass tensor.detach()."
            )
        store = svi._store()
        leaves = [store._params[name] for name in seen.names]
        update, note = _traced_update(svi, leaves) if train else (None, "none")
        function = StepFunction(
            svi._loss_terms, store, seen.names, (args, kwargs), seen.modules, update, guarding, train
        )
        bad_steps = torch.zeros((), dtype=torch.int64)
        state = update.tensors if update is not None else []
        fixed = [*(leaf.detach() for leaf in leaves), *state, bad_steps]
        started = time.perf_counter()
        graph = capture(function, [*(tensor.clone() for tensor in fixed), *tensors])
        traced = time.perf_counter()
        program = self.backend.compile(graph, [*fixed, *tensors, *graph.lifted])
        compiled = time.perf_counter()
        record = Capture(
            "step" if train else "evaluate_loss",
            reason,
            num_nodes=graph.num_nodes,
            backend=self.backend.name,
            optimizer=note,
            trace_seconds=traced - started,
            compile_seconds=compiled - traced,
        )
        self._report.captures.append(record)
        flags = training_flags(seen.modules)
        return StepProgram(function, leaves, graph, program, record, flags, bad_steps, fixed)

    def _finish(self, program: StepProgram, outputs: Sequence[Tensor]) -> float:
        """What is left to do after a call of the program: the optimizer, if it was not captured, and the float."""
        svi, function = self._svi, program.function
        if function.update is not None:
            function.update.write_back()
        loss = outputs[0].item()
        if function.guarding == "halt":
            svi._check_captured_loss(loss, program.bad_steps)
        if function.update is None:
            apply_gradients(svi, program, outputs[1:])
        return loss


def apply_gradients(svi: SVI, program: StepProgram, grads: Sequence[Tensor]) -> None:
    """Let torch's optimizer take a step with captured gradients."""
    for leaf, grad in zip(program.leaves, grads, strict=True):
        leaf.grad = grad
    with svi._active_store():
        svi.optim(program.leaves)
    for leaf in program.leaves:
        leaf.grad = torch.zeros_like(leaf)


def run_steps(program: StepProgram, tensors: Sequence[Tensor], num_steps: int) -> Iterator[Tensor]:
    """Losses of many steps, as tensors, none of them waited for. The optimizer must have been captured."""
    program.record.calls += num_steps
    return program.program.run(program.inputs(tensors), num_steps)


def training_flags(modules: list[torch.nn.Module]) -> tuple[bool, ...]:
    """Which of the registered modules, parts included, are in training mode."""
    return tuple(part.training for module in modules for part in module.modules())


def _traced_update(svi: SVI, leaves: list[Tensor]) -> tuple[TracedUpdate | None, str]:
    with svi._active_store():
        plan = svi.optim.plan(leaves)
    try:
        return TracedUpdate(plan), "captured"
    except CaptureError as error:
        return None, f"by torch ({error})"


