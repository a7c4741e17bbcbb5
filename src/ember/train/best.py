"""The best loss of the validation data so far."""

from __future__ import annotations

import math

from ember.errors import ModelError
from ember.infer.step.training.callback import State, Training


class Best:
    """Notes whether losses of the validation data become better.

    Args:
        least: by how much a loss must be below the best one before to count as better.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self.loss = math.inf
        self.step = 0
        self.waited = 0
        """How many losses in a row were no better."""

    def is_better(self, training: Training) -> bool:
        """Whether the newest loss is better than all before."""
        loss = training.validation[-1][1]
        if loss < self.loss - self._least:
            self.loss, self.step, self.waited = loss, training.step, 0
            return True
        self.waited += 1
        return False

    def state_dict(self) -> State:
        """What a resumed fit must know."""
        return {"loss": self.loss, "step": self.step, "waited": self.waited}

    def load_state_dict(self, state: State) -> None:
        """Take that up."""
        self.loss, self.step, self.waited = state["loss"], state["step"], state["waited"]


def checked_patience(patience: int, least: float) -> int:
    """The patience, if it is one.

    Raises:
        ModelError: if it is no whole number >= 1, or ``least`` is negative.
    """
    if not isinstance(patience, int) or patience < 1 or not least >= 0:
        raise ModelError(
            f"patience must be a whole number >= 1, and least >= 0; got {patience!r} and {least!r}"
        )
    return patience
