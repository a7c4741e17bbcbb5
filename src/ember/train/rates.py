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
        factor: a function from the number of steps taken to a positive number; ``factor(0)`` is taken to
            be 1.
        every: how many steps have the same rates; these may be one native call.

    Raises:
        OptimizerError: during a fit, if a factor is not positive, or the optimizer has no learning rate.

    >>> import math, torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import Rates
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> cosine = Rates(lambda step: 0.01 + 0.99 * (1 + math.cos(math.pi * step / 100)) / 2, every=20)
    >>> _ = svi.fit(torch.ones(20), steps=100, callbacks=[cosine], progress=False)
    >>> {round(rate, 6) for rate in svi.optim.get_lr().values()}  # 1 % of the first rate
    {0.0005}
    """

    def __init__(self, factor: Callable[[int], float], every: int = 10) -> None:
        self.every = every
        self._factor = factor

    def begin(self, training: Training) -> None:
        """Begin with the rates of the optimizer's options."""
        self._now = 1.0

    def after_steps(self, training: Training) -> None:
        """Set the rates of the next steps."""
        wanted = float(self._factor(training.step))
        if wanted != self._now:
            scale_rates(training.optim, wanted / self._now)
            self._now = wanted

    def state_dict(self) -> State:
        """Return what the rates are multiplied by."""
        return {"now": self._now}

    def load_state_dict(self, state: State) -> None:
        """Go on from the saved factor; the rates are part of the optimizer's state."""
        self._now = state["now"]


class Scheduler(Callback):
    """Steps the scheduler of the optimizer (``ember.optim.StepLR(...)`` and the like).

    Args:
        every: step it after so many steps; None steps it after each epoch.
        on_validation: step it after each validation, with the loss, as ``ReduceLROnPlateau`` needs it.

    Raises:
        OptimizerError: at the beginning of a fit whose optimizer has no scheduler.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import Scheduler
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> options = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.08}, "step_size": 2, "gamma": 0.5}
    >>> adam = ember.optim.StepLR(options)  # half the rate after each second call of the scheduler
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, adam, ember.infer.Trace_ELBO())
    >>> _ = svi.fit(torch.ones(20), epochs=4, batch_size=5, callbacks=[Scheduler()], progress=False)
    >>> set(adam.get_lr().values())
    {0.02}
    """

    def __init__(self, every: int | None = None, on_validation: bool = False) -> None:
        self.every = every
        self._on_validation = on_validation

    def begin(self, training: Training) -> None:
        """Look for the scheduler, and raise OptimizerError if there is none."""
        if not isinstance(training.optim, PyroLRScheduler):
            raise OptimizerError(
                f"Scheduler() needs an optimizer with a scheduler, such as optim.StepLR; got {type(training.optim).__name__}. "
                "Rates(function) changes the rates of any optimizer."
            )
        self._scheduler = training.optim

    def after_steps(self, training: Training) -> None:
        """Step the scheduler."""
        if not self._on_validation:
            self._scheduler.step()

    def after_epoch(self, training: Training) -> None:
        """Step the scheduler, if that is due after each epoch."""
        if self.every is None and not self._on_validation:
            self._scheduler.step()

    def after_validation(self, training: Training) -> None:
        """Step the scheduler with the loss of the validation data."""
        if self._on_validation:
            self._scheduler.step(training.validation[-1][1])
