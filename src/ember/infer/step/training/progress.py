"""A bar that shows steps, time left, and losses."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from ember.infer.objectives.losses.values import shown
from ember.infer.step.training.callback import Training


class Progress:
    """Shows how a fit goes on: epoch, loss, loss of the validation data, steps a second and time left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def begin(self, training: Training) -> None:
        """Show the bar."""
        self._bar = tqdm(total=training.total, initial=training.step, unit="step")

    def show(self, training: Training) -> None:
        """Bring it up to date."""
        if self._bar is None or not training.losses:
            return
        values = {"epoch": training.epoch, "loss": shown(training.losses[-1])}
        if training.validation:
            values["validation"] = shown(training.validation[-1][1])
        self._bar.update(training.step - self._bar.n)
        self._bar.set_postfix(values, refresh=False)

    def close(self) -> None:
        """Leave it as it is."""
        if self._bar is not None:
            self._bar.close()


class NoProgress(Progress):
    """Shows nothing."""

    def begin(self, training: Training) -> None:
        """Nothing."""


__all__ = ["NoProgress", "Progress"]
