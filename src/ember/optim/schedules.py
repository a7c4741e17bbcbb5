"""Learning rates that are known in advance, as an array with one rate a step.

A loop that reads its rates from an array needs no Python between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.errors import OptimizerError
from ember.optim.foreign import shell
from ember.optim.lr_scheduler import PyroLRScheduler
from ember.optim.records import Record

Schedule = PyroLRScheduler | Callable[[int], float]
"""A scheduler that is stepped after every step; or the rate as a function of the number of steps taken before."""


def rates(schedule: Schedule, num_steps: int) -> Tensor:
    """The learning rates of the next steps.

    Args:
        schedule: a scheduler, whose own state stays as it is, or a function of the step.
        num_steps: how many steps.

    Returns:
        Float64, of shape ``(num_steps,)``.

    Raises:
        OptimizerError: if the rates depend on more than the number of steps, or differ between parameters.

    >>> rates(lambda step: 0.5**step, 3)
    tensor([1.0000, 0.5000, 0.2500], dtype=torch.float64)
    """
    if not isinstance(schedule, PyroLRScheduler):
        return torch.tensor([float(schedule(step)) for step in range(num_steps)], dtype=torch.float64)
    found = [_Rehearsal(schedule, record).rates(num_steps) for record in _distinct(schedule)]
    if not found:
        raise OptimizerError("the scheduler has no parameter yet: its rates are known after the first step")
    if any(other != found[0] for other in found[1:]):
        raise OptimizerError("the parameters have different learning rates: there is no one array for all")
    return torch.tensor(found[0], dtype=torch.float64)


def advance(schedule: PyroLRScheduler, num_steps: int) -> None:
    """Bring a scheduler to where it is after so many steps that took their rates from :func:`rates`.

    Args:
        schedule: the scheduler.
        num_steps: how many of its rates were used.
    """
    known: list[tuple[dict[str, Any], _Rehearsal]] = []
    for record in schedule.records:
        start = _start(record)
        rehearsal = next((each for begun, each in known if begun == start), None)
        if rehearsal is None:
            rehearsal = _Rehearsal(schedule, record)
            rehearsal.rates(num_steps)
            known.append((start, rehearsal))
        rehearsal.show(record)


def _start(record: Record) -> dict[str, Any]:
    return {
        "scheduler": record.scheduler.state_dict(),
        "rates": [record.options.get("lr"), record.options.get("initial_lr")],
    }


def _distinct(schedule: PyroLRScheduler) -> list[Record]:
    """One parameter for each state that a schedule is in."""
    found: list[tuple[dict[str, Any], Record]] = []
    for record in schedule.records:
        start = _start(record)
        if not any(start == other for other, _ in found):
            found.append((start, record))
    return [record for _, record in found]


class _Rehearsal:
    """The schedule of one parameter, stepped on an optimizer that updates nothing."""

    def __init__(self, schedule: PyroLRScheduler, record: Record) -> None:
        if isinstance(record.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise OptimizerError("ReduceLROnPlateau waits for losses: its rates are not known in advance")
        if getattr(record.scheduler, "cycle_momentum", False):
            raise OptimizerError(
                f"{type(record.scheduler).__name__} changes the momentum too: give it cycle_momentum=False"
            )
        self._options = {**record.options, "params": [torch.zeros(())]}
        optimizer: Optimizer = shell(record.template, [self._options], {})
        # In a rehearsal the schedule is stepped alone.
        optimizer._opt_called = True  # type: ignore[attr-defined]
        rate = self._options["lr"]
        self._scheduler = schedule.schedule_of(optimizer)
        self._scheduler.load_state_dict(record.scheduler.state_dict())
        self._options["lr"] = rate

    def rates(self, num_steps: int) -> list[float]:
        """The rates before each of so many steps of the schedule."""
        found = []
        for _ in range(num_steps):
            found.append(float(self._options["lr"]))
            self._scheduler.step()
        return found

    def show(self, record: Record) -> None:
        """Bring the schedule of a parameter to the same place."""
        record.scheduler.load_state_dict(self._scheduler.state_dict())
        record.options["lr"] = self._options["lr"]
