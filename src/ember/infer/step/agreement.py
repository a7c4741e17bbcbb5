"""The first result of a captured program beside eager execution, from the same state and seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ember.capture.recording.assumptions import Unforeseen
from ember.capture.signals import Unbroken
from ember.errors import CaptureError, CaptureMismatchError
from ember.infer.objectives.losses.values import is_finite, to_floats
from ember.infer.step.function import Gradients
from ember.infer.step.live import Observer, Taken
from ember.infer.step.program import StepProgram
from ember.rng import fork_torch_rng, others_draw, torch_states

Eager = Callable[[Observer | None], Taken]
"""Takes an observer of parameters with gradients."""

_TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (2e-3, 1e-5)}
"""Relative and absolute, by dtype. Compiled float32 reductions add up in another order."""


def agrees(program: StepProgram, eager: Eager, tensors: Sequence[Tensor]) -> Taken:
    """Take a call eagerly, and compare the program's result on copies with it. The program's is the one that counts.

    A step that is taken later by the program alone gives the same then, bit for bit.

    Raises:
        CaptureMismatchError: shows both.
    """
    with Unbroken() as changing:
        return _compared(program, eager, tensors, changing)


def _compared(program: StepProgram, eager: Eager, tensors: Sequence[Tensor], changing: Unbroken) -> Taken:
    started = time.perf_counter()
    trains = program.flat.train
    inputs = program.copied_inputs(tensors)
    copies = list(inputs[: len(program.fixed)])
    with _random_state_put_back() as drawn:
        outputs = _answer(program, inputs)
    if outputs is None:
        return replace(eager(None), compared=False)
    captured_loss = to_floats(outputs[0])
    grads: dict[int, Tensor] = {}
    eager_losses: list[Any] = []

    def note(found: Gradients) -> Gradients:
        grads.update({id(p): p.grad.detach().clone() for p in found.leaves if p.grad is not None})
        eager_losses.append(found.loss)
        # From the eager update on, until the program's is taken over: Ctrl-C between them would leave the eager one.
        changing.begin()
        if program.flat.update is not None:
            return found
        return _given(program, found, captured_loss, outputs[1:])

    taken = eager(note if trains else None)
    eager_loss = eager_losses[0] if eager_losses else taken.loss
    if trains and program.has_value and not (is_finite(eager_loss) or is_finite(captured_loss)):
        # Eager execution stops at the first particle whose loss is not finite: there is nothing to compare.
        return taken
    with _keeping(eager_loss):
        if not _can_be_compared(drawn, program):
            return replace(taken, compared=False, others_drew=True)
        _compare("the loss", torch.tensor(captured_loss), torch.tensor(eager_loss), None)
        if trains:
            _compare_step(program, outputs, copies, grads)
    program.record.check_seconds += time.perf_counter() - started
    if taken.left_out:
        return taken
    changing.begin()
    program.take_over(inputs, tensors)
    return replace(taken, loss=captured_loss)


def _given(program: StepProgram, found: Gradients, loss: Any, captured: Sequence[Tensor]) -> Gradients:
    """The program's loss and gradients, with which torch's optimizer takes its step and other processes are told; the eager ones
    where they differ."""
    pairs = [
        (leaf.grad, grad)
        for leaf, grad in zip(program.leaves, captured, strict=True)
        if leaf.grad is not None
    ]
    largest = _largest(own for own, _ in pairs)
    if not all(_close(grad, own, _is_rounding(largest, grad, own)) for own, grad in pairs):
        return found
    for own, grad in pairs:
        own.copy_(grad)
    return replace(found, loss=loss)


def _compare_step(
    program: StepProgram, outputs: Sequence[Tensor], copies: list[Tensor], grads: dict[int, Tensor]
) -> None:
    """Compare parameters, or gradients where torch's optimizer takes the step."""
    largest = _largest(grads.values())
    names = program.flat.leaf_names()
    if program.flat.update is None:
        compared = zip(names, outputs[1:], [grads.get(id(leaf)) for leaf in program.leaves], strict=True)
        for name, captured, eager in compared:
            if eager is not None:
                noise = _is_rounding(largest, captured, eager)
                _compare(f"the gradient of parameter {name!r}", captured, eager, noise)
    else:
        for name, captured, leaf in zip(names, copies, program.leaves, strict=False):
            grad = grads.get(id(leaf))
            rounding = None if grad is None else _is_rounding(largest, grad)
            _compare(f"parameter {name!r}", captured, leaf.detach(), rounding)


def _largest(grads: Iterable[Tensor]) -> float:
    return max((float(grad.abs().max()) for grad in grads if grad.numel()), default=0.0)


def _is_rounding(largest: float, *grads: Tensor) -> Tensor:
    """Where gradients may be no more than the rounding of larger ones: all of them are small."""
    return torch.stack([grad.abs() <= 1e-4 * largest for grad in grads]).all(0)


@contextmanager
def _keeping(loss: Any) -> Iterator[None]:
    try:
        yield
    except CaptureMismatchError as error:
        error.eager_result = loss
        raise


def taken_already(error: CaptureError) -> Taken | None:
    """The call, if it has been taken by Python for a comparison."""
    if isinstance(error, CaptureMismatchError) and error.eager_result is not None:
        return Taken(error.eager_result, None)
    return None


def _answer(program: StepProgram, inputs: Sequence[Tensor]) -> Sequence[Tensor] | None:
    """The outputs of a program; None where it leaves the call to Python."""
    try:
        return program.program(inputs)
    except Unforeseen:
        program.num_left += 1
        return None


@dataclass
class _RandomStates:
    before: list[Tensor]
    after: list[Tensor]


@contextmanager
def _random_state_put_back() -> Iterator[_RandomStates]:
    with fork_torch_rng() as before:
        found = _RandomStates(before, [])
        yield found
        found.after = torch_states()


def _can_be_compared(captured: _RandomStates, program: StepProgram) -> bool:
    """Whether the two had the same random numbers; they have not where another thread draws some of them meanwhile."""
    for before, after, drawn in zip(captured.before, captured.after, torch_states(), strict=True):
        if torch.equal(after, drawn):
            continue
        if others_draw():
            # A program that draws nothing itself can be compared all the same.
            return not program.graph.draws
        raise CaptureMismatchError(
            "the captured step draws other random numbers than the eager one: "
            f"{'none' if torch.equal(before, after) else 'some'} against "
            f"{'none' if torch.equal(before, drawn) else 'some'} that eager draws. "
            "A program that draws from numpy or random, or branches on them, cannot be captured (compile=False)."
        )
    return True


def _compare(what: str, captured: Tensor, eager: Tensor, noise: Tensor | None) -> None:
    """``noise`` marks elements whose gradient is rounding error, of which some optimizers make full steps."""
    if not _close(captured, eager, noise):
        worst = (captured - eager).abs().nan_to_num(posinf=0).max().item()
        raise CaptureMismatchError(
            f"the captured step disagrees with the eager one in {what}: captured {_show(captured)}, eager {_show(eager)} "
            f"(largest difference {worst:.3g}). Please report it; compile=False runs eagerly."
        )


def _close(captured: Tensor, eager: Tensor, noise: Tensor | None) -> bool:
    relative, absolute = _TOLERANCE.get(eager.dtype, (1e-2, 1e-2))
    close = torch.isclose(captured.to(eager.dtype), eager, rtol=relative, atol=absolute, equal_nan=True)
    return bool((close if noise is None else close | noise).all())


def _show(value: Tensor) -> str:
    return str(value.tolist()) if value.numel() <= 8 else f"{value.flatten()[:8].tolist()} ..."
