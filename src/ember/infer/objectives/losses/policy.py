"""What happens when a loss, or a gradient, is NaN or infinite: one value, asked by all that take steps.

The setting ``nonfinite_loss`` chooses between :class:`Raise`, Ember's default, which raises before any parameter changes, and
:class:`Warn`, which does as Pyro does: warns of NaN and goes on. ``run(stable=True)`` takes :class:`Skip`.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ember import settings
from ember.errors import NonFiniteLossError
from ember.infer.objectives.losses.culprits import culprits
from ember.poutine.trace_struct import Trace

_NONFINITE_LOSS = "raise"


@settings.register("nonfinite_loss", __name__, "_NONFINITE_LOSS")
def _validate(value: Any) -> None:
    if value not in ("raise", "warn"):
        raise ValueError(f"nonfinite_loss must be 'raise' or 'warn', got {value!r}")


@dataclass(frozen=True)
class Raise:
    """Leave all as it was, and raise; in a captured loop, so must all steps after the bad one."""

    guarded: ClassVar[bool] = True
    """Whether a step looks at losses and gradients before it changes anything."""
    ends: ClassVar[bool] = True
    """Whether a bad step is the last one."""
    excuses: ClassVar[bool] = False
    """Whether a step with such a loss is left out even if values in it are invalid, too."""

    def good(self, finite: Tensor, bad_steps: Tensor) -> Tensor:
        """Whether a recorded step changes anything."""
        return finite & (bad_steps == 0)

    def found(self, loss: float, where: str = "") -> None:
        """Act on a bad step.

        Raises:
            NonFiniteLossError: always; ``where`` names what is not finite.
        """
        what = f"the loss is {loss}" if not math.isfinite(loss) else "a gradient is not finite"
        raise NonFiniteLossError(
            loss,
            f"{what}; parameters and optimizer state are unchanged.{where}\n"
            "Try a smaller learning rate, clip_args, other initial values, or a guide whose samples stay inside the "
            'supports of the model. settings.set(nonfinite_loss="warn") goes on instead, as Pyro does.',
        )


@dataclass(frozen=True)
class Skip:
    """Leave all as it was, and go on with the next step."""

    guarded: ClassVar[bool] = True
    ends: ClassVar[bool] = False
    excuses: ClassVar[bool] = True

    def good(self, finite: Tensor, bad_steps: Tensor) -> Tensor:
        """Whether a recorded step changes anything."""
        return finite

    def found(self, loss: float, where: str = "") -> None:
        """Act on a bad step.

        Raises:
            LeftOut: always; whoever takes the step counts it.
        """
        raise LeftOut(loss)


@dataclass(frozen=True)
class Warn:
    """Warn of NaN, and update all the same."""

    guarded: ClassVar[bool] = False
    ends: ClassVar[bool] = False
    excuses: ClassVar[bool] = False

    def good(self, finite: Tensor, bad_steps: Tensor) -> Tensor:
        """Whether a recorded step changes anything: it is never asked."""
        return torch.ones_like(finite)

    def found(self, loss: float, where: str = "") -> None:
        """Warn, if the loss is NaN."""
        if math.isnan(loss):
            warnings.warn(f"Encountered NaN: loss.{where}", UserWarning, stacklevel=4)


@dataclass(frozen=True)
class Later:
    """Say nothing yet: the loss is one of several that are averaged, and the average will be looked at."""

    guarded: ClassVar[bool] = False
    ends: ClassVar[bool] = False
    excuses: ClassVar[bool] = False

    def good(self, finite: Tensor, bad_steps: Tensor) -> Tensor:
        """Whether a recorded step changes anything: it is never asked."""
        return torch.ones_like(finite)

    def found(self, loss: float, where: str = "") -> None:
        """Nothing."""


BadLoss = Raise | Warn | Skip | Later


class LeftOut(Exception):
    """A step that :class:`Skip` leaves out; never seen outside of ``run``."""

    def __init__(self, loss: Any) -> None:
        super().__init__(loss)
        self.loss = loss


class _Active(threading.local):
    policy: BadLoss | None = None


_ACTIVE = _Active()


def active_policy() -> BadLoss:
    """What holds in this thread: that of the step which is being taken, else that of the setting."""
    if _ACTIVE.policy is not None:
        return _ACTIVE.policy
    return Raise() if _NONFINITE_LOSS == "raise" else Warn()


def held() -> BadLoss | None:
    """The policy of the step that is being taken in this thread, if there is one."""
    return _ACTIVE.policy


def hold(policy: BadLoss | None) -> None:
    """Put back what :func:`held` has returned: Ctrl-C may come in the line that does so at the end of :func:`applied`."""
    _ACTIVE.policy = policy


@contextmanager
def applied(policy: BadLoss) -> Iterator[None]:
    """Let a policy hold in this thread for the length of a block."""
    outer, _ACTIVE.policy = _ACTIVE.policy, policy
    try:
        yield
    finally:
        _ACTIVE.policy = outer


def check_training_loss(
    loss: float, model_trace: Trace | None = None, guide_trace: Trace | None = None
) -> None:
    """Do what the policy says, if a loss that is to be trained on is not finite.

    Raises:
        NonFiniteLossError: names the sites whose values or log densities are not finite.
    """
    if not math.isfinite(loss):
        active_policy().found(loss, culprits(model_trace, guide_trace))


def warn_of_nan_loss(loss: float, model_trace: Trace | None = None, guide_trace: Trace | None = None) -> None:
    """Warn if a loss is NaN."""
    if math.isnan(loss):
        Warn().found(loss, culprits(model_trace, guide_trace))


__all__ = [
    "BadLoss",
    "Later",
    "LeftOut",
    "Raise",
    "Skip",
    "Warn",
    "active_policy",
    "applied",
    "check_training_loss",
    "held",
    "hold",
    "warn_of_nan_loss",
]
