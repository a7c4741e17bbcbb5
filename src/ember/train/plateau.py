"""A smaller learning rate once the loss of the validation data gets no better."""

from __future__ import annotations

from ember.infer.step.training.callback import Callback, State, Training
from ember.optim.rates import scale_rates
from ember.train.best import Best, checked_patience


class Plateau(Callback):
    """Multiplies learning rates by a factor when the loss of the validation data gets no better.

    It needs ``svi.fit(..., validation=data)``. Without validation data it does nothing.

    Args:
        factor: what rates are multiplied by, above 0 and below 1.
        patience: change the rates after so many validations in a row that are no better, 1 or more. Counting
            then begins again.
        least: a loss counts as better if it is below the best one by more than this, 0 or more. In nats, as
            the loss is.
        stop_after: end the fit in the place of the change of this number: 3 ends it where the third change
            would be. None never ends it.

    Raises:
        ModelError: if ``patience`` is no whole number >= 1, or ``least`` is negative.
        OptimizerError: at the first change, if ``factor`` is not positive, or the optimizer has no learning
            rate.

    >>> from ember.train import Plateau
    >>> Plateau(factor=0.5, patience=3).factor
    0.5
    """

    def __init__(
        self, factor: float = 0.3, patience: int = 5, least: float = 0.0, stop_after: int | None = None
    ) -> None:
        self.factor = factor
        self._patience = checked_patience(patience, least)
        self._least = least
        self._stop_after = stop_after

    def begin(self, training: Training) -> None:
        """Forget an earlier fit."""
        self._best = Best(self._least)
        self._changes = 0

    def after_validation(self, training: Training) -> None:
        """Change the rates, if patience is over."""
        if self._best.is_better(training) or self._best.waited < self._patience:
            return
        self._best.waited = 0
        self._changes += 1
        if self._stop_after is not None and self._changes >= self._stop_after:
            training.stop(f"the loss of the validation data has come to plateau {self._changes}")
            return
        scale_rates(training.optim, self.factor)

    def state_dict(self) -> State:
        """Return the best loss, and how often rates have been changed."""
        return {"best": self._best.state_dict(), "changes": self._changes}

    def load_state_dict(self, state: State) -> None:
        """Go on from the loss and the count that were saved."""
        self._best.load_state_dict(state["best"])
        self._changes = state["changes"]
