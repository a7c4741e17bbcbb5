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
    """A fit that goes on, as callbacks see it."""

    def __init__(self, fitted: Fitted, run: Run, total: int | None, parallel: Parallel | None = None) -> None:
        self.parallel = parallel
        self.fitted = fitted
        self.run = run
        self.total = total
        """How many steps there will be, if that is known."""
        self.epoch = 0
        """Whole passes over the data so far."""
        self.step_in_epoch = 0
        self.validation: list[tuple[int, float]] = []
        """Steps taken before, and the loss of the validation data."""
        self.stopped: str | None = None
        """Why the fit ends early."""
        self.arguments: Callable[[], tuple[Args, Kwargs]] = lambda: ((), {})
        """The arguments of a step like the last one."""
        self.full_state: Callable[[], State] = dict
        """All that the fit would go on from: its place in the data, losses, states of callbacks."""

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return len(self.run.losses)

    @property
    def losses(self) -> list[Any]:
        """One a step."""
        return self.run.losses

    @property
    def optim(self) -> PyroOptim:
        """The optimizer."""
        return self.fitted.optim

    def stop(self, why: str) -> None:
        """End the fit after this step."""
        self.stopped = why

    def save(self, path: str) -> None:
        """Write the whole state to a file, from which ``fit(..., resume=path)`` goes on."""
        if self.parallel is None:
            self.fitted.save(path, self.full_state())
        else:
            self.parallel.save(
                lambda extra: self.fitted.save(path, {**self.full_state(), "parallel": extra}),
                self.fitted.own_state(),
            )


class Callback:
    """Hooks of a fit; those that are not overridden do nothing.

    A callback serves one fit at a time; :meth:`begin` starts it anew.
    """

    every: int | None = None
    """:meth:`after_steps` is called whenever so many steps more have been taken; never if None. Steps in between may be one
    native call."""
    handler: Messenger | None = None
    """A handler that acts around the steps, not around validation."""

    def begin(self, training: Training) -> None:
        """Before the first step."""

    def after_steps(self, training: Training) -> None:
        """After every ``every`` steps."""

    def after_epoch(self, training: Training) -> None:
        """After each pass over the data."""

    def after_validation(self, training: Training) -> None:
        """After the loss of the validation data has been added to ``training.validation``."""

    def failed(self, training: Training, error: NonFiniteLossError) -> bool:
        """After a step with a loss or gradient that is not finite; parameters are as before it. True if the fit is to go on."""
        return False

    def end(self, training: Training) -> None:
        """After the last step, if no error has ended the fit; the last callback comes first."""

    def close(self) -> None:
        """When the fit is over, after an error too."""

    def state_dict(self) -> State:
        """What a resumed fit must know, as plain data."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take that up, after :meth:`begin`."""


def due(callbacks: list[Callback], step: int) -> int | None:
    """How many steps there are until the next hook; None if there is none."""
    left = [callback.every - step % callback.every for callback in callbacks if callback.every]
    return min(left, default=None)


__all__ = ["Callback", "Fitted", "State", "Training", "due"]
