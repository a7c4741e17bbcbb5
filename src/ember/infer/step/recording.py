"""Recording a call, and compiling the record; what is refused before that."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence

from torch import Tensor

from ember.capture.recording.graph import capture
from ember.capture.report import Capture, Report
from ember.capture.state.world import World
from ember.errors import CaptureError, Reason
from ember.infer.step.given import FlatStep, UpdateError
from ember.infer.step.program import StepProgram, new_count
from ember.infer.step.request import Request, Setup
from ember.infer.step.states import First
from ember.optim.traced import TracedUpdate
from ember.poutine.messenger import Messenger
from ember.poutine.stack import THREAD

# So many times the options of an optimizer (but learning rates) may be changed before its update is left to torch.
_MAX_OPTION_CHANGES = 3
# A recording switches validation off for a while, for all threads, and puts it back.
_ONE_AT_A_TIME = threading.RLock()


def refuse_handlers(handlers: Sequence[object]) -> None:
    """Refuse calls inside handlers that keep something of each run: they would see no sites of a captured program."""
    for handler in handlers:
        if not (isinstance(handler, Messenger) and handler.is_repeatable()):
            raise CaptureError(
                f"the step cannot be captured: handlers are active around it, of which {type(handler).__name__} acts anew in "
                "each run\n"
                "The way out: apply it to model and guide instead, or run eagerly (compile=False).",
                Reason.HANDLERS,
            )


def refuse_unseen(world: World) -> None:
    """Refuse programs that read what nobody can watch: a captured step would go on with old values."""
    if world.unseen:
        raise CaptureError(
            f"the step cannot be captured: the program reads {world.unseen[0]}, whose changes cannot be seen\n"
            "The way out: pass it as an argument, make it a tensor, or run eagerly (compile=False).",
            Reason.UNSEEN,
        )


def changes_itself(what: str) -> CaptureError:
    """Why a program that changes what it reads is not captured."""
    return CaptureError(
        f"the step cannot be captured: the program changes {what} as it runs, which a captured step would not do\n"
        "The way out: keep it in a tensor that is changed in place, or run eagerly (compile=False).",
        Reason.CHANGES_ITSELF,
    )


def values_differ(whose: str) -> CaptureError:
    """Why a program that asks for values is not captured any more."""
    return CaptureError(
        f"the step cannot be captured: Python asks for values of {whose} that are others in call after call\n"
        "The way out: compute with tensor operations such as torch.where or a mask, or run eagerly (compile=False).",
        Reason.VALUE_READ,
    )


def record(request: Request, first: First, tensors: list[Tensor], report: Report) -> StepProgram:
    """A program for a call.

    Raises:
        CaptureError: if it cannot be captured.
    """
    if any(tensor.requires_grad for tensor in tensors):
        raise CaptureError(
            "the step cannot be captured: an argument requires gradients\nThe way out: pass tensor.detach().",
            Reason.OTHER_GRADIENTS,
        )
    leaves = tuple(first.parameters.leaves())
    _refuse_hooks(leaves)
    update, note = (
        _traced_update(request.setup, leaves, first.option_changes) if request.trains else (None, "none")
    )
    handlers = THREAD.mark()
    with _ONE_AT_A_TIME:
        try:
            return _compiled(request, first, leaves, tensors, update, note, report)
        except UpdateError as error:
            note = f"by torch (its update cannot be recorded: {error})"
            return _compiled(request, first, leaves, tensors, None, note, report)
        finally:
            THREAD.go_back(handlers)


def _refuse_hooks(leaves: tuple[Tensor, ...]) -> None:
    for leaf in leaves:
        if leaf._backward_hooks or getattr(leaf, "_post_accumulate_grad_hooks", None):
            raise CaptureError(
                f"the step cannot be captured: a parameter of shape {tuple(leaf.shape)} has a hook on its gradient\n"
                "The way out: clip by the optimizer's clip_args, or run eagerly (compile=False).",
                Reason.OTHER_GRADIENTS,
            )


def _compiled(
    request: Request,
    first: First,
    leaves: tuple[Tensor, ...],
    tensors: list[Tensor],
    update: TracedUpdate | None,
    note: str,
    report: Report,
) -> StepProgram:
    setup = request.setup
    line = Capture(request.kind, first.fact.value, optimizer=note)
    flat = FlatStep(setup.step, first.parameters, leaves, request.given, update, request.trains)
    state = update.tensors if update is not None else []
    fixed = [*(leaf.detach() for leaf in leaves), *state, new_count(leaves)]
    started = time.perf_counter()
    # Numbers that have become tensors are others in call after call: nobody may ask for their values.
    num_arguments = len(tensors) if request.lifted is None else None
    graph = capture(flat, [*fixed, *tensors], num_arguments)
    traced = time.perf_counter()
    program = setup.backend.compile(graph, [*fixed, *tensors, *graph.lifted])
    line.num_nodes, line.backend, line.note = graph.num_nodes, program.backend, program.note
    line.source, line.program = program.source, weakref.ref(program)
    line.memory_bytes = getattr(program, "memory_bytes", 0)
    line.estimates = getattr(program, "estimates", {})
    line.trace_seconds, line.compile_seconds = traced - started, time.perf_counter() - traced
    report.captures.append(line)
    return StepProgram(flat, graph, program, line, fixed, setup.optimizer)


def _traced_update(
    setup: Setup, leaves: tuple[Tensor, ...], option_changes: int
) -> tuple[TracedUpdate | None, str]:
    with setup.store.active():
        plan = setup.optimizer.plan(leaves)
    if setup.scheduled is not None:
        return TracedUpdate(plan, setup.scheduled.array()), "captured, with an array of learning rates"
    scheduled = any(slot.scheduler is not None for slot in plan.slots)
    if option_changes > (0 if scheduled else _MAX_OPTION_CHANGES):
        return None, "by torch (its options, and not the learning rate alone, change in training)"
    try:
        return TracedUpdate(plan), "captured"
    except CaptureError as error:
        return None, f"by torch ({error})"
