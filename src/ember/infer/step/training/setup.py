"""A fit put together: data, validation, weights of batches, hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ember.errors import ModelError
from ember.infer.objectives.losses.values import parts
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.loop import Run
from ember.infer.step.training.batches import Device, InMemory, Loaded, Span, batches_of, is_in_memory
from ember.infer.step.training.callback import Callback, Fitted, Parallel, Training
from ember.infer.step.training.data_plates import DataPlates
from ember.infer.step.training.fit import Fit, Plan
from ember.infer.step.training.progress import NoProgress, Progress
from ember.infer.step.training.steps import BatchRequests
from ember.ops.scalars import total
from ember.rng import fork_rng

# The same noise in each validation, so that two of them differ by the parameters alone.
_VALIDATION_SEED = 20_240_229
_VALIDATIONS = 100


@dataclass(frozen=True)
class Source:
    """The data of a fit, and how they are cut into batches; see :meth:`ember.infer.SVI.fit`."""

    data: object
    batch_size: int | None = None
    shuffle: bool = True
    drop_last: bool = False
    size: int | None = None
    device: Device = None
    plate: str | Sequence[str] | None = None
    parallel: Parallel | None = None

    def batches(self) -> InMemory | Loaded:
        """The batches to train on."""
        shard = None if self.parallel is None else self.parallel.shard()
        return batches_of(
            self.data, self.batch_size, self.shuffle, self.drop_last, self.size, self.device, shard
        )

    def of_others(self, data: object) -> InMemory | Loaded:
        """Batches of the same kind of other data."""
        size = self.batch_size if is_in_memory(data) else None
        return batches_of(data, size, shuffle=False, device=self.device)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The plates that hold the rows, if they are given."""
        if self.plate is None:
            return None
        return (self.plate,) if isinstance(self.plate, str) else tuple(self.plate)


class Weights:
    """Lets batches stand for all data.

    Args:
        names: the plates that hold the rows; None if that is to be found out, empty if nothing is to be scaled.
        size: the number of all rows; None if it is not known.
        trained: the weights of the data that are trained on, where these are others.
    """

    def __init__(
        self, names: tuple[str, ...] | None, size: int | None, trained: Weights | None = None
    ) -> None:
        self._names = names
        self._size = size
        self._trained = trained
        # One for all batches: another handler around the steps would mean another program.
        sizes = (size, None if trained is None else trained._size)
        known = {count for count in sizes if count is not None}
        self._handler = None if size is None else DataPlates(names, size, known)

    def around(self, span: Span) -> DataPlates | None:
        """The handler for these steps; None where there is nothing to scale."""
        if self._names == ():
            return None
        handler, rows = self._handler, span.rows
        if handler is None or rows is None:
            missing = (
                "rows there are in all"
                if handler is None
                else "rows a batch has: its tensors differ in length"
            )
            raise ModelError(
                f"it cannot be told how many {missing}, so that batches cannot be scaled to all data. Give fit(..., size=n) "
                "for the number of all rows, or leave the scale to the program: plate=()"
            )
        if rows == self._size and self._trained is None:
            return None
        handler.rows = rows
        if self._trained is not None and self._trained._handler is not None:
            handler.found |= self._trained._handler.found
        return handler


@dataclass(frozen=True)
class Validation:
    """The loss of data that are not trained on: as if they were all there are, each row once."""

    batches: InMemory | Loaded
    weights: Weights
    evaluate: Callable[[Args, Kwargs], Any]

    def __call__(self) -> float:
        """The loss, with the same noise each time; the random state stays as it is."""
        loss, rows = 0.0, 0
        with fork_rng():
            torch.manual_seed(_VALIDATION_SEED)
            for span in self.batches.in_order():
                with self.weights.around(span) or nullcontext():
                    value = self.evaluate(span.args, span.kwargs)
                loss += total(parts(value)) * (span.rows or 1)
                rows += span.rows or 1
        if not rows:
            raise ModelError(
                "there are no batches of validation data (a generator serves once: give a list or tensors)"
            )
        return loss / rows


@dataclass(frozen=True)
class Machinery:
    """What takes steps and evaluates losses."""

    fitted: Fitted
    requests: BatchRequests
    run: Run
    evaluate: Callable[[Args, Kwargs], Any]


def fit_over(
    source: Source,
    machinery: Machinery,
    *,
    epochs: int | None,
    steps: int | None,
    validation: object,
    validate_every: int | None,
    callbacks: Sequence[Callback],
    progress: bool,
) -> Fit:
    """A fit that has not begun.

    Raises:
        ModelError: if data, numbers or options do not fit together.
    """
    batches = source.batches()
    epochs, steps = _checked_length(epochs, steps, batches.is_whole)
    if steps is not None:
        known: int | None = steps
    else:
        assert epochs is not None
        known = None if batches.steps is None else epochs * batches.steps
    weights = Weights(source.names, batches.size)
    validate = None
    if validation is not None:
        others = source.of_others(validation)
        validate = Validation(others, Weights(source.names, others.size, weights), machinery.evaluate)
        if validate_every is None and batches.is_whole:
            validate_every = max(1, (known or 0) // _VALIDATIONS)
    _check_callbacks(callbacks, validate_every)

    def taking(span: Span) -> DataPlates | None:
        machinery.requests.arguments = (span.args, span.kwargs)
        if source.parallel is not None:
            source.parallel.before_steps(len(machinery.run.losses), span.share)
        return weights.around(span)

    training = Training(machinery.fitted, machinery.run, known, source.parallel)
    training.arguments = machinery.requests.plain
    return Fit(
        training,
        batches,
        Plan(epochs, steps, validate, validate_every),
        list(callbacks),
        Progress() if progress else NoProgress(),
        taking,
    )


def _checked_length(epochs: int | None, steps: int | None, is_whole: bool) -> tuple[int | None, int | None]:
    if (epochs is None) == (steps is None):
        raise ModelError(f"give one of epochs and steps, got epochs={epochs} and steps={steps}")
    for name, value in (("epochs", epochs), ("steps", steps)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ModelError(f"{name} must be a whole number >= 0, got {value!r}")
    return (None, epochs if steps is None else steps) if is_whole else (epochs, steps)


def _check_callbacks(callbacks: Sequence[Callback], validate_every: int | None) -> None:
    if validate_every is not None and validate_every < 1:
        raise ModelError(f"validate_every must be >= 1, got {validate_every}")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ModelError(
                f"callbacks are objects of subclasses of ember.train.Callback, got {type(callback).__name__}"
            )
        if callback.every is not None and callback.every < 1:
            raise ModelError(f"{type(callback).__name__}.every must be >= 1, got {callback.every}")


__all__ = ["Machinery", "Source", "Validation", "Weights", "fit_over"]
