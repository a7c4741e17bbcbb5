"""Learning rates as a function of the step, and the schedulers of torch."""

from __future__ import annotations

from collections.abc import Callable

from ember.errors import OptimizerError
from ember.infer.step.training.callback import Callback, State, Training
from ember.optim import PyroLRScheduler
from ember.optim.rates import scale_rates


class Rates(Callback):
    """Multiplies the initial learning rates by a function of the number of steps taken.

    Args:
        factor: a function with positive values; ``factor(0)`` is taken to be 1.
        every: how many steps have the same rates; these may be one native call.

    >>> import math
    >>> from ember.train import Rates
    >>> cosine = Rates(lambda step: 0.01 + 0.99 * (1 + math.cos(math.pi * step / 1000)) / 2, every=20)
    """

    def __init__(self, factor: Callable[[int], float], every: int = 10) -> None:
        self.every = every
        self._factor = factor

    def begin(self, training: Training) -> None:
        """Rates are as the optimizer's options say."""
        self._now = 1.0

    def after_steps(self, training: Training) -> None:
        """Set the rates of the next steps."""
        wanted = float(self._factor(training.step))
        if wanted != self._now:
            scale_rates(training.optim, wanted / self._now)
            self._now = wanted

    def state_dict(self) -> State:
        """What the rates are multiplied by."""
        return {"now": self._now}

    def load_state_dict(self, state: State) -> None:
        """Take that up; the rates are part of the optimizer's state."""
        self._now = state["now"]


class Scheduler(Callback):
    """Steps the scheduler of the optimizer (``ember.optim.StepLR(...)`` and the like).

    Args:
        every: step it after so many steps; None steps it after each epoch.
        on_validation: step it after each validation, with the loss, as ``ReduceLROnPlateau`` needs it.

    Raises:
        OptimizerError: at the beginning of a fit whose optimizer has no scheduler.
    """

    def __init__(self, every: int | None = None, on_validation: bool = False) -> None:
        self.every = every
        self._on_validation = on_validation

    def begin(self, training: Training) -> None:
        """Look for the scheduler."""
        if not isinstance(training.optim, PyroLRScheduler):
            raise OptimizerError(
                f"Scheduler() needs an optimizer with a scheduler, such as optim.StepLR; got {type(training.optim).__name__}. "
                "Rates(function) changes the rates of any optimizer."
            )
        self._scheduler = training.optim

    def after_steps(self, training: Training) -> None:
        """Step it."""
        if not self._on_validation:
            self._scheduler.step()

    def after_epoch(self, training: Training) -> None:
        """Step it."""
        if self.every is None and not self._on_validation:
            self._scheduler.step()

    def after_validation(self, training: Training) -> None:
        """Give it the loss."""
        if self._on_validation:
            self._scheduler.step(training.validation[-1][1])
