"""One step: differentiate the loss, judge it, update the parameters. Written once.

A step is a function of parameters, optimizer state and arguments. Where these are is a :class:`Place`: in the store and in
torch's optimizers, where Python takes the step (:mod:`ember.infer.step.live`), or in tensors given from outside, where the step
is recorded, to be compiled and looped (:mod:`ember.infer.step.given`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ember.infer.objectives.losses.policy import BadLoss

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


@dataclass(frozen=True)
class Objective:
    """What is minimised, with model and guide bound; it is called with the arguments of a step."""

    value: Callable[..., Any]
    """The loss alone."""
    backward: Callable[..., Any]
    """The loss; gradients are added to ``.grad`` of the parameters."""
    terms: Callable[..., tuple[Any, Any]]
    """The loss and the scalar to differentiate, as tensors; raises CaptureError where there are none."""
    has_value: bool
    """Whether the loss is what must be finite; if not, the scalar to differentiate."""


@dataclass(frozen=True)
class Gradients:
    """What differentiating gave."""

    loss: Any
    """A float or tensor, or a tuple of floats."""
    checked: Any
    """What must be finite, beside the gradients."""
    names: tuple[str, ...]
    """The parameters that were touched; the same tensor may have several names."""
    leaves: list[Tensor]
    """Their unconstrained leaves, each once."""
    grads: list[Tensor | None]
    """One for each leaf."""


class Place(Protocol):
    """Where the parameters and the state of a step are."""

    def differentiate(self, objective: Objective, args: Args, kwargs: Kwargs) -> Gradients:
        """Run guide, model and objective, and get gradients."""

    def finite(self, found: Gradients) -> Any:
        """Whether loss and gradients are finite."""

    def update(self, found: Gradients, finite: Any, policy: BadLoss) -> Any:
        """Let the optimizer change parameters and state, unless the policy forbids it; returns the loss."""


@dataclass(frozen=True)
class Step:
    """What a step does, wherever it is taken."""

    objective: Objective
    policy: BadLoss

    def __call__(self, place: Place, args: Args, kwargs: Kwargs) -> Any:
        """Take the step; returns the loss before it."""
        found = place.differentiate(self.objective, args, kwargs)
        finite = place.finite(found) if self.policy.guarded else True
        return place.update(found, finite, self.policy)
