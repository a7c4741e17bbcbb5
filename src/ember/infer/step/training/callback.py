"""What acts on a fit from outside: hooks, and the state of the fit that they see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from ember.errors import NonFiniteLossError
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.loop import Run
from ember.infer.step.training.batches import Shard
from ember.optim import PyroOptim
from ember.params.param_store import ParamStoreDict
from ember.poutine.messenger import Messenger

State = dict[str, Any]


class Fitted(Protocol):
    """What is fitted, as hooks need it."""

    optim: PyroOptim
    guide: Callable[..., Any]

    def store(self) -> ParamStoreDict:
        """Where the parameters are."""

    def evaluate_loss(self, *args: object, **kwargs: object) -> Any:
        """The loss."""

    def get_state(self) -> State:
        """All that a fit goes on from, as plain data; tensors are copies."""

    def set_state(self, state: State) -> None:
        """Go back to such a state."""

    def own_state(self) -> State:
        """What each of several processes that fit together has for itself: random states, and kinds of calls."""

    def set_own_state(self, state: State) -> None:
        """Take that up."""

    def save(self, path: str, fit: State | None = None) -> None:
        """Write that state to a file, and beside it that of a fit over batches."""

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers of the modules that can be reached."""

    def fitted_params(self) -> dict[str, Tensor]:
        """Constrained values of the parameters, as copies."""


class Parallel(Protocol):
    """Processes that fit together, each seeing a part of each batch."""

    def shard(self) -> Shard:
        """The part that this process sees."""

    def begin(self, fitted: Fitted) -> None:
        """Before the first step: all go on from the same state."""

    def before_steps(self, step: int, share: float) -> None:
        """Before steps of which this process sees a part of the rows; so many have been taken."""

    def settle(self, losses: list[Any]) -> None:
        """After steps: put the losses of all together in the place of the newest ones."""

    def agreed(self, value: float) -> float:
        """The first process's value."""

    def save(self, write: Callable[[State], None], own: State) -> None:
        """Let one process write, what it is given among the rest; ``own`` is what each process has for itself."""

    def take_up(self, extra: State) -> State:
        """Go on from what :meth:`save` has given to be written; returns what this process had for itself."""

    def close(self, fitted: Fitted) -> None:
        """When the fit is over, after an error too."""


class Training:
    """Shows callbacks a fit that goes on: its steps, losses and optimizer; it can end and save the fit."""

    def __init__(self, fitted: Fitted, run: Run, total: int | None, parallel: Parallel | None = None) -> None:
        self.parallel = parallel
        self.fitted = fitted
        self.run = run
        self.total = total
        """How many steps there will be; None if that is not known."""
        self.epoch = 0
        """Whole passes over the data so far."""
        self.step_in_epoch = 0
        """Steps of the pass that goes on."""
        self.validation: list[tuple[int, float]] = []
        """For each validation: steps taken before, and the loss of the validation data in nats."""
        self.stopped: str | None = None
        """Why the fit ends early; None while it does not."""
        self.arguments: Callable[[], tuple[Args, Kwargs]] = lambda: ((), {})
        """The arguments of a step like the last one."""
        self.full_state: Callable[[], State] = dict
        """All that the fit would go on from: its place in the data, losses, states of callbacks."""

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return len(self.run.losses)

    @property
    def losses(self) -> list[Any]:
        """One loss a step, in nats: a float, or a tuple of floats for objectives with several losses."""
        return self.run.losses

    @property
    def optim(self) -> PyroOptim:
        """The optimizer."""
        return self.fitted.optim

    def stop(self, why: str) -> None:
        """End the fit after this step.

        Args:
            why: a reason in words; ``result.stopped`` has it.
        """
        self.stopped = why

    def save(self, path: str) -> None:
        """Write the whole state to a file, from which ``fit(..., resume=path)`` goes on.

        Args:
            path: the file; it is replaced as a whole.
        """
        if self.parallel is None:
            self.fitted.save(path, self.full_state())
        else:
            self.parallel.save(
                lambda extra: self.fitted.save(path, {**self.full_state(), "parallel": extra}),
                self.fitted.own_state(),
            )


class Callback:
    """Is called at points of :meth:`ember.infer.SVI.fit`; the base of all callbacks.

    Override the methods that you need: the others do nothing. All get the :class:`Training` that goes on. A
    callback serves one fit at a time; :meth:`begin` starts it anew.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import Callback
    >>> class StopBelow(Callback):
    ...     every = 10  # steps
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def after_steps(self, training):
    ...         if sum(training.losses[-10:]) / 10 < self.loss:
    ...             training.stop(f"the loss is below {self.loss}")
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.Trace_ELBO())
    >>> result = svi.fit(torch.ones(20), steps=2000, callbacks=[StopBelow(25.0)], progress=False)
    >>> result.num_steps < 2000, result.stopped
    (True, 'the loss is below 25.0')
    """

    every: int | None = None
    """Steps from one call of :meth:`after_steps` to the next; None never calls it. Steps in between may be
    one native call."""
    handler: Messenger | None = None
    """A handler that acts around the steps, not around validation."""

    def begin(self, training: Training) -> None:
        """Is called before the first step."""

    def after_steps(self, training: Training) -> None:
        """Is called after every ``every`` steps."""

    def after_epoch(self, training: Training) -> None:
        """Is called after each pass over the data."""

    def after_validation(self, training: Training) -> None:
        """Is called after the loss of the validation data has been added to ``training.validation``."""

    def failed(self, training: Training, error: NonFiniteLossError) -> bool:
        """Is called after a step with a loss or gradient that is not finite; parameters are as before it.

        Args:
            training: the fit.
            error: what will be raised.

        Returns:
            True if the fit is to go on. The error is raised if no callback says so.
        """
        return False

    def end(self, training: Training) -> None:
        """Is called after the last step, if no error has ended the fit; the last callback comes first."""

    def close(self) -> None:
        """Is called when the fit is over, after an error too."""

    def state_dict(self) -> State:
        """Return what a resumed fit must know, as plain data."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Go on from what :meth:`state_dict` has returned; called after :meth:`begin`."""


def due(callbacks: list[Callback], step: int) -> int | None:
    """How many steps there are until the next hook; None if there is none."""
    left = [callback.every - step % callback.every for callback in callbacks if callback.every]
    return min(left, default=None)


__all__ = ["Callback", "Fitted", "State", "Training", "due"]
