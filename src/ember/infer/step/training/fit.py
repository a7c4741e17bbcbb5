"""The loop of a fit over batches. What is not here is a callback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ember.errors import ModelError, NonFiniteLossError
from ember.infer.step.loop import Pace
from ember.infer.step.training.batches import Batches, Span
from ember.infer.step.training.callback import Callback, State, Training, due
from ember.infer.step.training.progress import Progress
from ember.params.fits import FittedPrograms
from ember.poutine.messenger import Messenger
from ember.rng import get_rng_state, set_rng_state


@dataclass(frozen=True)
class TrainResult:
    """Holds how a fit went: what :meth:`ember.infer.SVI.fit` returns.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> result = svi.fit(torch.ones(20), epochs=3, batch_size=5, validation=torch.zeros(8), progress=False)
    >>> result.num_steps, result.epochs, result.losses.shape, [step for step, loss in result.validation]
    (12, 3, torch.Size([12]), [4, 8, 12])
    """

    losses: Tensor
    """One loss a step, in nats, float64, shape ``(num_steps,)``: each an estimate for all data. Shape
    ``(num_steps, n)`` for objectives with n losses."""
    validation: list[tuple[int, float]]
    """For each validation: steps taken before, and the loss of the validation data in nats."""
    num_steps: int
    """How many steps were taken; in a resumed fit with those before."""
    epochs: int
    """Whole passes over the data; steps, where each sees all rows."""
    num_skipped: int
    """How many updates were left out under ``stable=True``."""
    interrupted: bool
    """Whether Ctrl-C ended the fit."""
    stopped: str | None
    """Why a callback ended it, in words; None if none did."""
    seconds: float
    """How long this call took, by the clock."""
    params: dict[str, Tensor] = field(repr=False)
    """Constrained values of the parameters at the end, as copies: later fits do not change them."""
    fitted_programs: FittedPrograms | None = field(default=None, repr=False, compare=False)
    """Model and guide, for ``Predictive(result, num_samples=...)``; None in another process."""


@dataclass(frozen=True)
class Plan:
    """How far a fit goes, and what it does on the way."""

    epochs: int | None
    steps: int | None
    validate: Callable[[], float] | None
    """The loss of the validation data."""
    validate_every: int | None
    """Steps from one validation to the next; None for an epoch."""

    def left(self, training: Training) -> int | None:
        """How many steps are still to be taken, if that is known."""
        return None if self.steps is None else max(0, self.steps - training.step)

    def is_done(self, training: Training) -> bool:
        """Whether the fit has come to its end."""
        done = self.epochs is not None and training.epoch >= self.epochs
        return done or training.stopped is not None or self.left(training) == 0

    def until_validation(self, training: Training) -> int | None:
        """How many steps there are until the next validation between epochs."""
        every = self.validate_every
        return None if every is None or self.validate is None else every - training.step % every


@dataclass(frozen=True)
class Fit:
    """One fit: its state, its data, how far it goes, and what acts on it.

    Args:
        training: the state that callbacks see.
        batches: where the arguments of steps come from.
        plan: how far it goes.
        callbacks: what acts on it.
        progress: what is shown.
        taking: called with the steps that come next; gives a handler that acts around them, or None.
    """

    training: Training
    batches: Batches
    plan: Plan
    callbacks: list[Callback]
    progress: Progress
    taking: Callable[[Span], Messenger | None]
    pace: Pace = field(default_factory=Pace)
    epoch_began: list[State] = field(default_factory=lambda: [{}])
    """The random state at the beginning of the epoch that goes on."""

    def loop(self) -> None:
        """Take all steps."""
        while not self.plan.is_done(self.training):
            taken = self.training.step
            for span in self._spans():
                self._take(span)
                if self.plan.is_done(self.training):
                    break
            else:
                self._end_epoch(self.training.step > taken)

    def _spans(self) -> Iterator[Span]:
        """Those of this epoch; the user's code that makes them may be interrupted."""
        skip, gate = self.training.step_in_epoch, self.training.run.gate
        # An order that was begun before a stop is drawn again, and goes on where it was.
        now = get_rng_state()
        if skip:
            set_rng_state(self.epoch_began[0])
        else:
            self.epoch_began[0] = now
        gate.open = True
        self.batches.begin_at(self.training.epoch)
        spans = self.batches.epoch(skip)
        first = next(spans, None)
        if skip:
            set_rng_state(now)
        while first is not None:
            gate.open = False
            yield first
            gate.open = True
            first = next(spans, None)
        gate.open = False

    def _take(self, span: Span) -> None:
        training, done = self.training, 0
        while done < span.count and not self.plan.is_done(training):
            limits = (self.plan.left(training), self.plan.until_validation(training))
            counts = [self.pace.size, span.count - done, *limits, due(self.callbacks, training.step)]
            before = training.step
            self._some(span, done, min(count for count in counts if count is not None))
            done += training.step - before
            training.step_in_epoch += training.step - before
            self._after_steps()

    def _some(self, span: Span, done: int, count: int) -> None:
        training = self.training
        span.seek(done)
        try:
            with ExitStack() as around:
                for handler in (self.taking(span), *[callback.handler for callback in self.callbacks]):
                    if handler is not None:
                        around.enter_context(handler)
                try:
                    self.pace.take(training.run, count)
                finally:
                    if training.parallel is not None:
                        training.parallel.settle(training.losses)
        except NonFiniteLossError as error:
            with self._users_code():
                goes_on = [callback.failed(training, error) for callback in self.callbacks]
            if not any(goes_on):
                error.add_note(f"in step {training.step} of the fit, epoch {training.epoch + 1}")
                raise

    def _after_steps(self) -> None:
        training = self.training
        with self._users_code():
            self.progress.show(training)
            if self.plan.validate_every and training.step % self.plan.validate_every == 0:
                self._validate()
            for callback in self.callbacks:
                if callback.every and training.step % callback.every == 0:
                    callback.after_steps(training)

    def _end_epoch(self, any_steps: bool) -> None:
        training = self.training
        if not any_steps and not training.step_in_epoch:
            raise ValueError(
                f"there are no batches in epoch {training.epoch + 1}. What can be iterated once only, such as a generator, "
                "serves one epoch: give a list, a DataLoader, or tensors"
            )
        training.epoch += 1
        training.step_in_epoch = 0
        with self._users_code():
            if self.plan.validate_every is None:
                self._validate()
            self.progress.show(training)
            for callback in self.callbacks:
                callback.after_epoch(training)

    def _validate(self) -> None:
        if self.plan.validate is not None:
            loss, parallel = self.plan.validate(), self.training.parallel
            # One process may not stop where the others go on.
            agreed = loss if parallel is None else parallel.agreed(loss)
            self.training.validation.append((self.training.step, agreed))
            for callback in self.callbacks:
                callback.after_validation(self.training)

    @contextmanager
    def _users_code(self) -> Iterator[None]:
        """Ctrl-C comes at once; all that has been done is kept already."""
        gate = self.training.run.gate
        gate.deliver()
        gate.open = True
        try:
            yield
        finally:
            gate.open = False

    def state(self) -> State:
        """What the fit goes on from, beside what is fitted."""
        training = self.training
        return {
            "epoch": training.epoch,
            "step_in_epoch": training.step_in_epoch,
            "epoch_began": self.epoch_began[0],
            "losses": torch.tensor(training.losses, dtype=torch.float64),
            "skipped": training.run.num_skipped,
            "validation": [list(pair) for pair in training.validation],
            "callbacks": [callback.state_dict() for callback in self.callbacks],
        }

    def set_state(self, state: State) -> None:
        """Take up such a state."""
        training = self.training
        training.epoch, training.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.epoch_began[0] = state["epoch_began"]
        training.run.losses[:] = state["losses"].tolist()
        training.run.num_skipped = state["skipped"]
        training.validation[:] = [(step, loss) for step, loss in state["validation"]]
        for callback, known in zip(self.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(known)


def run_fit(fit: Fit, resumed: State | None) -> TrainResult:
    """Begin, take all steps, and say how it went; Ctrl-C ends it with what there is."""
    training, started = fit.training, time.perf_counter()
    training.full_state = fit.state
    try:
        for callback in fit.callbacks:
            callback.begin(training)
        if resumed is not None:
            fit.set_state(resumed)
        if resumed is not None and ("parallel" in resumed) != (training.parallel is not None):
            raise ModelError("a fit by several processes goes on by several, one by one process by one")
        if training.parallel is not None:
            training.parallel.begin(training.fitted)
            if resumed is not None:
                training.fitted.set_own_state(training.parallel.take_up(resumed["parallel"]))
        interrupted = _interruptible(fit)
    finally:
        for callback in fit.callbacks:
            callback.close()
        if training.parallel is not None:
            training.parallel.close(training.fitted)
    return TrainResult(
        torch.tensor(training.losses, dtype=torch.float64),
        list(training.validation),
        training.step,
        training.step if fit.batches.is_whole else training.epoch,
        training.run.num_skipped,
        interrupted,
        training.stopped,
        time.perf_counter() - started,
        training.fitted.fitted_params(),
    )


def _interruptible(fit: Fit) -> bool:
    """Take the steps; whether Ctrl-C has ended that. Handlers of signals wait while a step is taken and its loss is kept."""
    gate, ended, interrupted = fit.training.run.gate, False, False
    fit.progress.begin(fit.training)
    try:
        gate.close()
        try:
            fit.loop()
        except KeyboardInterrupt:
            interrupted = True
        gate.open = False
        for callback in reversed(fit.callbacks):
            callback.end(fit.training)
        ended = True
        gate.restore()
        return gate.interrupted() or interrupted
    finally:
        gate.restore()
        fit.progress.close()
        if not ended:
            gate.deliver()


__all__ = ["Fit", "Plan", "TrainResult", "run_fit"]
