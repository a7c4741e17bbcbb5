"""An end once the loss of the validation data gets no better."""

from __future__ import annotations

from ember.infer.step.training.callback import Callback, State, Training
from ember.train.best import Best, checked_patience


class EarlyStopping(Callback):
    """Ends a fit when the loss of the validation data gets no better, and goes back to the best state.

    It needs ``svi.fit(..., validation=data)``. Without validation data it does nothing.

    Args:
        patience: end after so many validations in a row that are no better, 1 or more.
        least: a loss counts as better if it is below the best one by more than this, 0 or more. In nats, as
            the loss is.
        restore: go back to the parameters, buffers and optimizer state with the best loss.

    Raises:
        ModelError: if ``patience`` is no whole number >= 1, or ``least`` is negative.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import EarlyStopping
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> x = torch.arange(100) / 50
    >>> stop = EarlyStopping(patience=5)
    >>> options = dict(epochs=500, batch_size=20, callbacks=[stop], progress=False)
    >>> result = svi.fit(x[::2], validation=x[1::2], **options)
    >>> result.epochs < 500, result.stopped[:22]
    (True, 'the loss of the valida')
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
        """Return the best loss, and the state that had it."""
        return {"best": self._best.state_dict(), "state": self._state}

    def load_state_dict(self, state: State) -> None:
        """Go on from the best loss and state that were saved."""
        self._best.load_state_dict(state["best"])
        self._state = state["state"]
        self._stop_if_over()
