"""States of a fit in files."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ember.errors import ModelError
from ember.infer.step.training.callback import Callback, State, Training
from ember.train.best import Best


class Checkpoint(Callback):
    """Writes the whole state of a fit to a file, from which ``fit(..., resume=path)`` continues bit for bit.

    The file is replaced as a whole: a crash leaves the old one. The last state is written at the end of the
    fit.

    Args:
        path: the file.
        every: steps from one writing to the next; None writes after each epoch.
        best: a second file, for the state with the lowest loss of the validation data.
        at_signal: a signal, such as ``signal.SIGTERM``. When it comes, the state is written and the fit ends.
            For the main thread only.

    Raises:
        ModelError: at the beginning of a fit with ``at_signal``, if the fit runs in another thread than the
            main one, or in several processes.

    >>> import tempfile, torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import Checkpoint
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> x, options = torch.arange(40.0) / 10, dict(batch_size=10, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/fit.pt"
    ...     first = svi.fit(x, epochs=2, callbacks=[Checkpoint(path)], **options)
    ...     more = svi.fit(x, epochs=5, callbacks=[Checkpoint(path)], resume=path, **options)
    >>> first.num_steps, more.num_steps  # the second fit went on after step 8
    (8, 20)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int | None = None,
        best: str | os.PathLike[str] | None = None,
        at_signal: signal.Signals | None = None,
    ) -> None:
        self.every = every
        self.path = os.fspath(path)
        self.best_path = None if best is None else os.fspath(best)
        self._at_signal = at_signal
        self._before: Any = None

    def begin(self, training: Training) -> None:
        """Begin to wait for the signal."""
        self._best = Best(0.0)
        self._written = (-1, -1)
        if self._at_signal is not None:
            if training.parallel is not None:
                raise ModelError(
                    "Checkpoint(at_signal=...) is for one process: others would wait for one that has stopped a step before"
                )
            if threading.current_thread() is not threading.main_thread():
                raise ModelError(
                    "Checkpoint(at_signal=...) works in the main thread only: Python runs handlers there"
                )
            self._before = signal.signal(self._at_signal, self._on_signal(training))

    def _on_signal(self, training: Training) -> Callable[[int, FrameType | None], None]:
        def handler(number: int, frame: FrameType | None) -> None:
            training.stop(f"signal {signal.Signals(number).name}")

        return handler

    def _save(self, training: Training) -> None:
        now = (training.epoch, training.step)
        if self._written != now:
            self._written = now
            training.save(self.path)

    def after_steps(self, training: Training) -> None:
        """Write the state."""
        self._save(training)

    def after_epoch(self, training: Training) -> None:
        """Write the state, if that is due after each epoch."""
        if self.every is None:
            self._save(training)

    def after_validation(self, training: Training) -> None:
        """Write the best state."""
        if self._best.is_better(training) and self.best_path is not None:
            training.save(self.best_path)

    def end(self, training: Training) -> None:
        """Write the last state."""
        self._save(training)

    def close(self) -> None:
        """Give the signal back to the handler that it had."""
        if self._at_signal is not None and self._before is not None:
            signal.signal(self._at_signal, self._before)
            self._before = None

    def state_dict(self) -> State:
        """Return the best loss so far."""
        return {"best": self._best.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Go on from the best loss that was saved."""
        self._best.load_state_dict(state["best"])
