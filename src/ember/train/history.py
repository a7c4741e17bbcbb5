"""Losses and learning rates over the steps."""

from __future__ import annotations

from ember.infer.step.training.callback import Callback, State, Training


class History(Callback):
    """Keeps the mean loss of every so many steps, with the learning rates.

    Args:
        every: steps a row.

    Attributes:
        rows: dictionaries with the keys ``"step"``, ``"epoch"``, ``"loss"`` (the mean over the steps of the
            row; the sum of several losses, where an objective has several), ``"smallest rate"`` and
            ``"largest rate"``.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import History
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> history = History(every=50)
    >>> _ = svi.fit(torch.ones(20), steps=100, callbacks=[history], progress=False)
    >>> [(row["step"], row["largest rate"]) for row in history.rows]
    [(50, 0.05), (100, 0.05)]
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
        """Return the rows."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: State) -> None:
        """Go on from the rows that were saved."""
        self.rows = [dict(row) for row in state["rows"]]
