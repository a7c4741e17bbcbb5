"""Learning rates of all parameters, changed together; captured steps read them anew, and need no other program."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ember.errors import OptimizerError
from ember.optim.optim import PyroOptim
from ember.optim.records import Record


def scale_rates(optimizer: PyroOptim, factor: float) -> None:
    """Multiply the learning rate of each parameter that has been stepped; a scheduler goes on from there.

    Args:
        optimizer: the optimizer.
        factor: positive.

    Raises:
        OptimizerError: if the factor is not positive, or there is a parameter without a rate.

    >>> import torch
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.ones(2)
    >>> optimizer = PyroOptim(torch.optim.SGD, {"lr": 0.5})
    >>> optimizer([w])
    >>> scale_rates(optimizer, 0.5)
    >>> optimizer([w])
    >>> w
    tensor([-0.7500, -0.7500], requires_grad=True)
    """
    if not factor > 0:
        raise OptimizerError(f"a factor of learning rates must be positive, got {factor}")
    for record in optimizer.records:
        _check(record)
    for record in optimizer.records:
        for key in ("lr", "initial_lr"):
            if key in record.options:
                record.options[key] = _times(record.options[key], factor)
        if hasattr(record.scheduler, "base_lrs"):
            record.scheduler.base_lrs = [_times(rate, factor) for rate in record.scheduler.base_lrs]


def _check(record: Record) -> None:
    if "lr" not in record.options:
        raise OptimizerError(f"the optimizer of parameter {record.name!r} has no learning rate")


def _times(rate: Any, factor: float) -> Any:
    return rate.detach() * factor if isinstance(rate, Tensor) else rate * factor


__all__ = ["scale_rates"]
