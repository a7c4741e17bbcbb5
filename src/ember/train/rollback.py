"""Going on after a loss that is not finite."""

from __future__ import annotations

from ember.errors import NonFiniteLossError
from ember.infer.step.training.callback import Callback, State, Training
from ember.optim.rates import scale_rates


class Rollback(Callback):
    """Goes back to the last state that it kept, and lowers the rates, after a loss that is not finite.

    A gradient that is not finite counts too. The fit continues with the next batch and other random numbers.

    Args:
        factor: what the learning rates are multiplied by, above 0 and below 1. They stay lower.
        every: steps from one kept state to the next.
        most: how many times to go back. The next error ends the fit.

    Raises:
        NonFiniteLossError: during a fit, at the first bad loss after ``most`` returns.
        OptimizerError: when it goes back, if ``factor`` is not positive, or the optimizer has no learning
            rate.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import Rollback
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> rollback = Rollback(factor=0.5, most=3)
    >>> _ = svi.fit(torch.ones(20), steps=100, callbacks=[rollback], progress=False)
    >>> rollback.returns  # no loss was bad
    []
    """

    def __init__(self, factor: float = 0.5, every: int = 100, most: int = 10) -> None:
        self.every = every
        self.factor = factor
        self.most = most
        self.returns: list[int] = []
        """After which steps the fit has gone back."""

    def begin(self, training: Training) -> None:
        """Forget an earlier fit."""
        self.returns = []
        self._state: State | None = None
        self._scale = 1.0
        self._owed = 1.0
        """Of the first rates: parameters without a step have none that could be changed."""

    def after_steps(self, training: Training) -> None:
        """Keep the state."""
        if self._owed != 1.0 and training.optim.get_lr():
            scale_rates(training.optim, self._owed)
            self._owed = 1.0
        self._state = {**training.fitted.get_state(), "random": None}
        self._scale = 1.0

    def failed(self, training: Training, error: NonFiniteLossError) -> bool:
        """Go back, unless that has been done too often.

        Before the first state is kept, parameters stay as they are.

        Args:
            training: the fit.
            error: what will be raised, unless this returns True.
        """
        if len(self.returns) >= self.most:
            error.add_note(f"Rollback has gone back {self.most} times, after steps {self.returns}")
            return False
        self.returns.append(training.step)
        if self._state is not None:
            training.fitted.set_state(self._state)
        # The kept state has the rates of its time: all reductions since then are made again.
        self._scale *= self.factor
        if not training.optim.get_lr():
            self._owed *= self.factor
        else:
            scale_rates(training.optim, self._scale if self._state is not None else self.factor)
        return True

    def state_dict(self) -> State:
        """Return when it has gone back, and the state that it would go back to."""
        return {"returns": list(self.returns), "state": self._state, "scale": self._scale, "owed": self._owed}

    def load_state_dict(self, state: State) -> None:
        """Go on from what was saved."""
        self.returns, self._state = list(state["returns"]), state["state"]
        self._scale, self._owed = state["scale"], state["owed"]
