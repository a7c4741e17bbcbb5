"""An end once the loss of the validation data gets no better."""

from __future__ import annotations

from ember.infer.step.training.callback import Callback, State, Training
from ember.train.best import Best, checked_patience


class EarlyStopping(Callback):
    """Ends a fit when the loss of the validation data gets no better, and goes back to the best state.

    Args:
        patience: end after so many validations in a row that are no better.
        least: a loss counts as better if it is below the best one by more than this.
        restore: go back to the parameters, buffers and optimizer state with the best loss.

    Raises:
        ModelError: if an argument makes no sense; at the end of a fit without ``validation``.

    >>> from ember.train import EarlyStopping
    >>> EarlyStopping(patience=5).patience
    5
    """

    def __init__(self, patience: int = 10, least: float = 0.0, restore: bool = True) -> None:
        self.patience = checked_patience(patience, least)
        self._least = least
        self._restore = restore

    def begin(self, training: Training) -> None:
        """Forget an earlier fit."""
        self._best = Best(self._least)
        self._state: State | None = None
        self._training = training

    def after_validation(self, training: Training) -> None:
        """Keep the state if it is the best one; end the fit if patience is over."""
        if self._best.is_better(training):
            self._state = training.fitted.get_state() if self._restore else None
        self._stop_if_over()

    def _stop_if_over(self) -> None:
        if self._best.waited >= self.patience:
            self._training.stop(
                f"the loss of the validation data has been no better than {self._best.loss:.6g}, after step "
                f"{self._best.step}, for {self.patience} validations"
            )

    def end(self, training: Training) -> None:
        """Go back to the best state; random numbers go on."""
        if self._state is not None and self._best.step != training.step:
            training.fitted.set_state({**self._state, "random": None})

    def state_dict(self) -> State:
        """The best loss, and the state that had it."""
        return {"best": self._best.state_dict(), "state": self._state}

    def load_state_dict(self, state: State) -> None:
        """Take that up."""
        self._best.load_state_dict(state["best"])
        self._state = state["state"]
        self._stop_if_over()
