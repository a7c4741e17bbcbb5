"""Many steps of an SVI in one call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from ember.capture.recording.assumptions import Unforeseen
from ember.capture.signals import Gate
from ember.errors import NonFiniteLossError
from ember.infer.objectives.losses.policy import LeftOut
from ember.infer.objectives.losses.values import parts, shown
from ember.infer.step.convergence.record import Convergence
from ember.infer.step.live import Taken, taken_or_undone
from ember.infer.step.program import StepProgram
from ember.infer.step.programs import Ready
from ember.infer.step.request import Scheduled
from ember.ops.scalars import total
from ember.params.fits import FittedPrograms
from ember.rng import set_torch_states, torch_states

Callback = Callable[[int, float], Any]
_FIRST_CHUNK, _GROWTH, _CHUNK_SECONDS = 16, 8, 0.2


@dataclass(frozen=True)
class SVIResult:
    """Holds how a run went: what :meth:`ember.infer.SVI.run` returns.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> result = svi.run(100, torch.ones(20), progress=False)
    >>> result.losses.shape, result.num_skipped, sorted(result.params)
    (torch.Size([100]), 0, ['AutoNormal.locs.loc', 'AutoNormal.scales.loc'])
    """

    losses: Tensor
    """One loss a step, in nats, float64, shape ``(num_steps,)``; ``(num_steps, n)`` for objectives with n
    losses."""
    num_steps: int
    """How many steps were taken."""
    num_skipped: int
    """How many updates were left out under ``stable=True``."""
    interrupted: bool
    """Whether Ctrl-C ended the run."""
    seconds: float
    """How long the run took, by the clock."""
    convergence: Convergence | None = None
    """Under ``until="converged"``: whether the run has converged, and what was seen. None otherwise."""
    params: dict[str, Tensor] = field(default_factory=dict, repr=False)
    """Constrained values of the parameters at the end, as copies: later runs do not change them."""
    fitted_programs: FittedPrograms | None = field(default=None, repr=False, compare=False)
    """Model and guide, for ``Predictive(result, num_samples=...)``; None in another process."""


class Source(Protocol):
    """Where steps come from."""

    def find(self) -> Ready | Taken:
        """A program for one more step; or one step, taken by Python."""

    def eager(self) -> Taken:
        """One step, taken by Python."""


class Run:
    """The state of one run."""

    def __init__(self, source: Source, scheduled: Scheduled | None = None) -> None:
        self.losses: list[Any] = []
        self.num_skipped = 0
        self.gate = Gate()
        """Handlers of signals wait but for the user's code."""
        self._source = source
        self._scheduled = scheduled

    def take(self, num_steps: int) -> None:
        """Take up to so many steps; losses taken before an error or Ctrl-C are kept."""
        try:
            found = self._found()
        except NonFiniteLossError as error:
            self.losses.append(error.loss)
            raise
        if isinstance(found, Taken):
            self._note(found)
            return
        try:
            # One step is cheaper by itself: there is nothing to go back to, and no array of losses.
            if found.state.program.flat.update is None or (num_steps == 1 and self._scheduled is None):
                self._one_by_one(found, num_steps)
            else:
                self._loop(found, num_steps)
            return
        except Unforeseen:
            pass
        self._note(self._unforeseen())

    def _note(self, taken: Taken) -> None:
        self.losses.append(taken.loss)
        self.num_skipped += taken.left_out
        if self._scheduled is not None and not taken.left_out:
            self._scheduled.advance(1)

    def _found(self) -> Ready | Taken:
        """What is found by code that may be the user's."""
        self.gate.open = self.gate.keeps_shut = True
        try:
            return self._source.find()
        finally:
            self.gate.open = self.gate.keeps_shut = False

    def _unforeseen(self) -> Taken:
        """The step that a program has ended with, taken by Python."""
        self.gate.open = True
        try:
            return taken_or_undone(self._source.eager)
        except NonFiniteLossError as error:
            self.losses.append(error.loss)
            raise
        finally:
            self.gate.open = False

    def _one_by_one(self, ready: Ready, num_steps: int) -> None:
        """The optimizer is torch's: Python calls it after each captured gradient."""
        program = ready.state.program
        for _ in range(num_steps):
            if self.gate.waiting:
                return
            try:
                self.losses.append(program.step(program.inputs(ready.tensors)))
            except LeftOut as skipped:
                self.losses.append(skipped.loss)
                self.num_skipped += 1
            except NonFiniteLossError as error:
                self.losses.append(error.loss)
                raise
            else:
                if self._scheduled is not None:
                    self._scheduled.advance(1)

    def _loop(self, ready: Ready, num_steps: int) -> None:
        program = ready.state.program
        policy = program.policy
        # A program with the loop inside ends at a bad loss by itself.
        until_bad = policy.ends and program.has_value
        start = _Start(program, ready.tensors) if policy.ends else None
        pending: list[Tensor] = []
        self._follow_schedule(program, num_steps)
        self.gate.stop = program.program.stop
        try:
            for losses in program.many(program.inputs(ready.tensors), num_steps, until_bad):
                pending.append(losses)
                if self.gate.waiting:
                    break
        finally:
            self.gate.stop = None
            try:
                self._collect(program, pending, start)
            finally:
                self._bring_schedule_up(program)

    def _follow_schedule(self, program: StepProgram, num_steps: int) -> None:
        if self._scheduled is not None and program.flat.update is not None:
            program.flat.update.follow_schedule(self._scheduled.next_rates(num_steps))

    def _bring_schedule_up(self, program: StepProgram) -> None:
        if self._scheduled is not None and program.flat.update is not None:
            self._scheduled.advance(program.flat.update.num_rates_taken)

    def _collect(self, program: StepProgram, pending: list[Tensor], start: _Start | None) -> None:
        """Take the losses over, and do what the policy says about bad steps."""
        if not pending:
            return
        together = torch.cat(pending) if program.program.in_blocks else torch.stack(pending)
        losses: list[Any] = together.double().tolist()
        if together.dim() > 1:
            losses = list(map(tuple, losses))
        bad = int(program.bad_steps.item()) if program.policy.guarded else 0
        if start is not None and bad:
            # All steps after the first bad one count as bad.
            first = len(losses) - bad
            if bad > 1:
                # They have drawn random numbers, and changed buffers.
                start.go_back()
                deque(program.many(program.inputs(start.arguments), first + 1, False), maxlen=0)
            self.losses += losses[: first + 1]
            program.settle(losses[first])
        self.losses += losses
        if not program.policy.guarded:
            program.policy.found(total([value for loss in losses for value in parts(loss)]))
        elif bad:
            self.num_skipped += bad
            program.bad_steps.zero_()


class _Start:
    """What a chunk of steps starts from, to go back to."""

    def __init__(self, program: StepProgram, arguments: list[Tensor]) -> None:
        self.arguments = arguments
        changed = program.changed(arguments)
        tensors = [tensor for i, tensor in enumerate(program.inputs(arguments)) if i in changed]
        self._before = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._random_states = torch_states()

    def go_back(self) -> None:
        with torch.no_grad():
            for tensor, before in self._before:
                tensor.copy_(before)
        set_torch_states(self._random_states)


def run(
    state: Run, num_steps: int, progress: bool, callback: Callback | None, callback_interval: int
) -> SVIResult:
    """See :meth:`ember.infer.SVI.run`."""
    if num_steps < 0 or callback_interval < 1:
        raise ValueError(
            f"num_steps must be >= 0 and callback_interval >= 1, got {num_steps} and {callback_interval}"
        )
    result = None
    try:
        state.gate.close()
        result = _result(state, num_steps, progress, callback, callback_interval)
        state.gate.restore()
        return replace(result, interrupted=True) if state.gate.interrupted() else result
    except KeyboardInterrupt:
        if result is None:
            raise
        return replace(result, interrupted=True)
    finally:
        state.gate.restore()
        if result is None:
            state.gate.deliver()


def _result(
    state: Run, num_steps: int, progress: bool, callback: Callback | None, callback_interval: int
) -> SVIResult:
    """Take the steps. Handlers of signals wait until their losses are kept."""
    started = time.perf_counter()
    interrupted = False
    interval = callback_interval if callback is not None else None
    with tqdm(total=num_steps, unit="step") if progress else nullcontext() as bar:
        try:
            for done in _chunks(state, num_steps, interval):
                state.gate.deliver()
                if bar is not None:
                    bar.update(done - bar.n)
                    bar.set_postfix(loss=shown(state.losses[-1]), refresh=False)
                if callback is not None and done % callback_interval == 0:
                    state.gate.open = True
                    ends = callback(done, state.losses[-1])
                    state.gate.open = False
                    if ends:
                        break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            state.gate.open = False
    losses = torch.tensor(state.losses, dtype=torch.float64)
    return SVIResult(losses, len(losses), state.num_skipped, interrupted, time.perf_counter() - started)


class Pace:
    """Pieces of a run that take about 0.2 s each."""

    def __init__(self) -> None:
        self.size = _FIRST_CHUNK
        """How many steps the next one has."""

    def take(self, state: Run, wanted: int) -> None:
        """Take up to so many steps, as one piece."""
        done, started = len(state.losses), time.perf_counter()
        state.take(wanted)
        if len(state.losses) - done == wanted == self.size:
            seconds = time.perf_counter() - started
            steps = int(self.size * _CHUNK_SECONDS / max(seconds, 1e-9))
            self.size = max(1, min(_GROWTH * self.size, steps))


def _chunks(state: Run, num_steps: int, interval: int | None) -> Iterator[int]:
    """Take the steps in pieces that end at the callback's steps; yields the steps taken so far."""
    pace = Pace()
    while (done := len(state.losses)) < num_steps:
        wanted = min(pace.size, num_steps - done)
        if interval is not None:
            wanted = min(wanted, interval - done % interval)
        pace.take(state, wanted)
        yield len(state.losses)
