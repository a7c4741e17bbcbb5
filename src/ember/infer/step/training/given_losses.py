"""What an SVI is given, in Pyro's ways: deprecated numbers, losses that are functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ember.errors import CaptureError, Reason
from ember.infer.objectives.elbo import ELBO
from ember.infer.step.function import Objective


def warn_of_deprecated(num_steps: int, num_samples: int) -> None:
    """Warn of arguments that have no effect any more."""
    if num_steps:
        warnings.warn(
            "The `num_steps` argument to SVI is deprecated and will be removed in a future release. "
            "Use `SVI.step` directly to control the number of iterations.",
            FutureWarning,
            stacklevel=3,
        )
    if num_samples:
        warnings.warn(
            "The `num_samples` argument to SVI is deprecated and will be removed in a future release. "
            "Use `infer.Predictive` class to draw samples from the posterior.",
            FutureWarning,
            stacklevel=3,
        )


def backward_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Computes a loss, and gradients by torch."""

    def loss_and_grads(*args: object, **kwargs: object) -> Any:
        value = loss(*args, **kwargs)
        if getattr(value, "requires_grad", False):
            value.backward()
        return value

    return loss_and_grads


def bound(
    objective: Any,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    loss: Callable[..., Any],
    loss_and_grads: Callable[..., Any],
    own_gradients: bool,
) -> Objective:
    """What is minimised, of a model and a guide.

    Args:
        objective: what the user gave as loss.
        model: the model.
        guide: the guide.
        loss: takes model, guide and arguments.
        loss_and_grads: the same; it computes gradients, too.
        own_gradients: whether gradients are computed by the user's own function.
    """

    def terms(*args: object, **kwargs: object) -> tuple[Any, Any]:
        if isinstance(objective, ELBO):
            elbo, surrogate = objective.estimate(model, guide, args, kwargs)
            return -elbo, -surrogate
        if own_gradients:
            raise CaptureError(
                "the step cannot be captured: loss_and_grads computes gradients by itself\n"
                "The way out: give SVI a loss that returns a tensor to differentiate, or run eagerly (compile=False).",
                Reason.OWN_GRADIENTS,
            )
        value = loss(model, guide, *args, **kwargs)
        if not isinstance(value, Tensor):
            raise CaptureError(
                f"the step cannot be captured: the loss is a {type(value).__name__}, no tensor\n"
                "The way out: return one scalar tensor, or run eagerly (compile=False).",
                Reason.NOT_A_TENSOR,
            )
        return value, value

    return Objective(
        value=lambda *args, **kwargs: loss(model, guide, *args, **kwargs),
        backward=lambda *args, **kwargs: loss_and_grads(model, guide, *args, **kwargs),
        terms=terms,
        has_value=not isinstance(objective, ELBO) or objective.has_value,
    )


__all__ = ["backward_of", "bound", "warn_of_deprecated"]
