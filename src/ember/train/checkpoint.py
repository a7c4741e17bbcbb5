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
        every: write after so many steps; None writes after each epoch.
        best: a second file, for the state with the best loss of the validation data.
        at_signal: also write the state and end the fit at this signal, such as ``signal.SIGTERM``. Main
            thread only.

    Raises:
        ModelError: at the beginning of a fit in another thread, with ``at_signal``.

    >>> from ember.train import Checkpoint
    >>> Checkpoint("fit.pt", every=500).every
    500
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
        """Wait for the signal."""
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
        """Leave the signal to the handler that it had."""
        if self._at_signal is not None and self._before is not None:
            signal.signal(self._at_signal, self._before)
            self._before = None

    def state_dict(self) -> State:
        """The best loss so far."""
        return {"best": self._best.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Take that up."""
        self._best.load_state_dict(state["best"])
