"""Many steps of an SVI in one call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ember import settings
from ember.errors import CaptureError, CaptureMismatchError, NonFiniteLossError
from ember.infer.losses.policy import raises_on_nonfinite, warn_of_nan_loss
from ember.infer.losses.values import check as check_loss
from ember.infer.losses.values import is_finite, parts, shown, to_floats
from ember.infer.step.compile_mode import effective_mode
from ember.infer.step.function import Guarding
from ember.infer.step.program import StepProgram
from ember.infer.step.programs import apply_gradients, run_steps
from ember.rng import random_states, set_random_states

if TYPE_CHECKING:
    from ember.infer.step.svi import SVI

Callback = Callable[[int, float], Any]
Observer = Callable[[list[Tensor]], bool | None]
_FIRST_CHUNK, _GROWTH, _CHUNK_SECONDS = 16, 8, 0.2


@dataclass(frozen=True)
class SVIResult:
    """How a run went."""

    losses: Tensor
    """One loss a step, float64, shape ``(num_steps,)``; ``(num_steps, n)`` for objectives with n losses."""
    num_steps: int
    """How many steps were taken."""
    num_skipped: int
    """How many updates were left out under ``stable=True``."""
    interrupted: bool
    """Whether Ctrl-C ended the run."""
    seconds: float


class _Run:
    """The state of one run."""

    def __init__(self, svi: SVI, args: tuple[Any, ...], kwargs: dict[str, Any], stable: bool) -> None:
        self.svi = svi
        self.args = args
        self.kwargs = kwargs
        self.stable = stable
        self.losses: list[Any] = []
        self.num_skipped = 0
        self.mode = effective_mode(svi.compile, "auto")
        self.guarding: Guarding = "skip" if stable else ("halt" if raises_on_nonfinite() else "off")

    def take(self, num_steps: int) -> None:
        """Take so many steps; losses taken before an error or Ctrl-C are kept."""
        program, tensors = self._program()
        if program is None:
            return
        if program.function.update is None:
            for _ in range(num_steps):
                self._one_with_torch_optimizer(program, tensors)
            return
        pending: list[Tensor] = []
        bad_before = program.bad_steps.item() if self.guarding != "off" else 0
        until_bad = self.guarding == "halt" and program.function.has_value
        # A program with the loop inside ends at the bad step by itself.
        ends_there = until_bad and program.program.in_blocks
        start = _Start(program, tensors) if self.guarding == "halt" and not ends_there else None
        try:
            for loss in run_steps(program, tensors, num_steps, until_bad):
                pending.append(loss)
        finally:
            program.function.update.write_back()
            self._collect(program, pending, int(bad_before), start)

    def _program(self) -> tuple[StepProgram | None, list[Tensor]]:
        """The program; None after one eager step, which is what there is until there is a program."""
        if self.mode is False:
            self.losses.append(self._eager_step()[1])
            return None, []
        try:
            program, tensors, loss = self.svi._captured.program(
                self.args, self.kwargs, self.guarding, self._eager_step
            )
        except CaptureMismatchError as error:
            self._fall_back(error)
            self.losses.append(error.eager_result)
            return None, []
        except CaptureError as error:
            self._fall_back(error)
            self.losses.append(self._eager_step()[1])
            return None, []
        if program is None:
            self.losses.append(loss)
        return program, tensors

    def _fall_back(self, error: CaptureError) -> None:
        if self.mode is True:
            raise error
        self.svi._warn_of_fallback(error)
        self.mode = False

    def _collect(
        self, program: StepProgram, pending: list[Tensor], bad_before: int, start: _Start | None
    ) -> None:
        if not pending:
            return
        together = torch.cat(pending) if program.program.in_blocks else torch.stack(pending)
        losses: list[Any] = together.double().tolist()
        if together.dim() > 1:
            losses = list(map(tuple, losses))
        if self.guarding == "off":
            self.losses += losses
            warn_of_nan_loss(sum(value for loss in losses for value in parts(loss)))
            return
        bad = int(program.bad_steps.item()) - bad_before
        if self.guarding == "skip":
            self.num_skipped += bad
            self.losses += losses
        elif bad:
            program.bad_steps.zero_()
            # All steps after the first bad one count as bad.
            first = len(losses) - bad
            if start is not None:
                # The steps after the bad one have drawn random numbers and changed buffers.
                start.go_back()
                deque(run_steps(program, start.arguments, first + 1), maxlen=0)
                program.bad_steps.zero_()
            self.losses += losses[: first + 1]
            check_loss(losses[first])
        else:
            self.losses += losses

    def _one_with_torch_optimizer(self, program: StepProgram, tensors: list[Tensor]) -> None:
        program.record.calls += 1
        loss, *grads = program.program(program.inputs(tensors))
        value = to_floats(loss)
        good = is_finite(value) or not program.function.has_value
        if self.stable:
            good = good and all(bool(torch.isfinite(grad).all()) for grad in grads)
            self.num_skipped += not good
        elif not good:
            self.losses.append(value)
            check_loss(value)
        if good or not self.stable:
            apply_gradients(self.svi, program, grads)
        if good or self.stable:
            self.losses.append(value)

    def _eager_step(self, observe: Observer | None = None) -> tuple[list[str] | None, float]:
        """Names of the parameters (None if an error has hidden them) and loss."""
        try:
            if not self.stable:
                names, loss = self.svi._eager_step(self.args, self.kwargs, observe)
                return names, loss
            return self._stable_step(observe)
        except NonFiniteLossError as error:
            if not self.stable:
                self.losses.append(error.loss)
                raise
            self.num_skipped += 1
            return None, error.loss

    def _stable_step(self, observe: Observer | None) -> tuple[list[str], float]:
        good = True

        def all_finite(params: list[Tensor]) -> bool:
            nonlocal good
            if observe is not None:
                observe(params)
            good = all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in params)
            return good

        with settings.context(nonfinite_loss="raise"):
            names, loss = self.svi._eager_step(self.args, self.kwargs, all_finite)
        self.num_skipped += not good
        return names, loss


def run(
    svi: SVI,
    num_steps: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    progress: bool,
    callback: Callback | None,
    callback_interval: int,
    stable: bool,
) -> SVIResult:
    """See :meth:`ember.infer.SVI.run`."""
    if num_steps < 0 or callback_interval < 1:
        raise ValueError(
            f"num_steps must be >= 0 and callback_interval >= 1, got {num_steps} and {callback_interval}"
        )
    state = _Run(svi, args, kwargs, stable)
    started = time.perf_counter()
    interrupted = False
    with tqdm(total=num_steps, unit="step") if progress else nullcontext() as bar:
        try:
            for done in _chunks(state, num_steps, callback_interval if callback is not None else None):
                if bar is not None:
                    bar.update(done - bar.n)
                    bar.set_postfix(loss=shown(state.losses[-1]), refresh=False)
                if (
                    callback is not None
                    and done % callback_interval == 0
                    and callback(done, state.losses[-1])
                ):
                    break
        except KeyboardInterrupt:
            interrupted = True
    losses = torch.tensor(state.losses, dtype=torch.float64)
    return SVIResult(losses, len(losses), state.num_skipped, interrupted, time.perf_counter() - started)


class _Start:
    """What a chunk of steps starts from, to go back to."""

    def __init__(self, program: StepProgram, arguments: list[Tensor]) -> None:
        self.arguments = arguments
        changed = program.changed(arguments)
        tensors = [tensor for i, tensor in enumerate(program.inputs(arguments)) if i in changed]
        self._before = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._random_states = random_states()

    def go_back(self) -> None:
        with torch.no_grad():
            for tensor, before in self._before:
                tensor.copy_(before)
        set_random_states(self._random_states)


def _chunks(state: _Run, num_steps: int, interval: int | None) -> Iterator[int]:
    """Take the steps in pieces of about 0.2 s that end at the callback's steps; yields the steps taken so far."""
    size = _FIRST_CHUNK
    while (done := len(state.losses)) < num_steps:
        wanted = min(size, num_steps - done)
        if interval is not None:
            wanted = min(wanted, interval - done % interval)
        started = time.perf_counter()
        state.take(wanted)
        taken = len(state.losses) - done
        if taken == wanted == size:
            seconds = time.perf_counter() - started
            size = max(1, min(_GROWTH * size, int(size * _CHUNK_SECONDS / max(seconds, 1e-9))))
        yield len(state.losses)
