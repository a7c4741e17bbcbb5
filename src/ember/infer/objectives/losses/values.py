"""Losses at the border to Python: a float, or a tuple of floats where an objective has several."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ember.errors import NonFiniteLossError
from ember.infer.objectives.losses.policy import LeftOut, check_training_loss, warn_of_nan_loss
from ember.ops.scalars import torch_item

Loss = Any
"""``float | tuple[float, ...]``; as a tensor, a scalar or a vector."""


def to_floats(loss: Any) -> Loss:
    """The loss as a float, or as a tuple of floats if it is a tuple or a vector.

    >>> import torch
    >>> to_floats(torch.tensor(1.5)), to_floats(torch.tensor([1.0, 2.0])), to_floats((torch.tensor(1.0), 2.0))
    (1.5, (1.0, 2.0), (1.0, 2.0))
    """
    if isinstance(loss, tuple):
        return type(loss)(map(torch_item, loss))
    if isinstance(loss, Tensor) and loss.dim() == 1:
        return tuple(loss.tolist())
    return torch_item(loss)


def parts(loss: Loss) -> tuple[float, ...]:
    """The losses, also if there is one only."""
    return loss if isinstance(loss, tuple) else (loss,)


def is_finite(loss: Loss) -> bool:
    """Whether all of it is."""
    return all(map(math.isfinite, parts(loss)))


def warn_if_nan(loss: Loss) -> None:
    """Warn if any of it is NaN."""
    for value in parts(loss):
        warn_of_nan_loss(value)


def check(loss: Loss) -> None:
    """Raise, or warn, as the setting ``nonfinite_loss`` says, if any of it is not finite.

    Raises:
        NonFiniteLossError: names the value; the whole loss is its ``loss``.
    """
    for value in parts(loss):
        try:
            check_training_loss(value)
        except (NonFiniteLossError, LeftOut) as error:
            error.loss = loss
            raise


def shown(loss: Loss) -> str:
    """The loss in a few digits."""
    return ", ".join(f"{value:.4g}" for value in parts(loss))
