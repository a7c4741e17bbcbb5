"""Losses and learning rates over the steps."""

from __future__ import annotations

from ember.infer.step.training.callback import Callback, State, Training


class History(Callback):
    """Keeps the mean loss of every so many steps, with the learning rates; ``rows`` is a list of dictionaries.

    Args:
        every: steps a row.

    >>> import torch, ember
    >>> from ember.train import History
    >>> def model(): ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    >>> History(every=50).every
    50
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self.rows: list[dict[str, float]] = []

    def begin(self, training: Training) -> None:
        """Forget an earlier fit."""
        self.rows = []

    def after_steps(self, training: Training) -> None:
        """Add a row."""
        assert self.every is not None
        last = training.losses[-self.every :]
        values = [sum(loss) if isinstance(loss, (tuple, list)) else loss for loss in last]
        rates = training.optim.get_lr().values()
        self.rows.append(
            {
                "step": training.step,
                "epoch": training.epoch,
                "loss": sum(values) / len(values),
                "smallest rate": min(rates, default=0.0),
                "largest rate": max(rates, default=0.0),
            }
        )

    def state_dict(self) -> State:
        """The rows."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: State) -> None:
        """Take them up."""
        self.rows = [dict(row) for row in state["rows"]]
