"""A run that ends when it has converged."""

from __future__ import annotations

import math
from dataclasses import replace
from operator import index
from typing import Any

from torch import Tensor

from ember.errors import ModelError, OptimizerError
from ember.infer.step.convergence.rule import StoppingRule
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.loop import Callback, Run, SVIResult, run
from ember.infer.step.training.converger import Converger, Fittable

NOT_GIVEN: Any = object()
_MOST_STEPS = 200_000


def steps_and_arguments(first: Any, args: Args, max_steps: int | None) -> tuple[int, Args]:
    """The most steps of a run until convergence, and the arguments of the model, from what was given by position."""
    if max_steps is not None:
        most = _whole(max_steps)
        return most, args if first is NOT_GIVEN else (first, *args)
    if first is NOT_GIVEN:
        return _MOST_STEPS, args
    if isinstance(first, int) and not isinstance(first, (bool, Tensor)):
        return _whole(first), args
    return _MOST_STEPS, (first, *args)


def _whole(steps: Any) -> int:
    try:
        steps = index(steps)
    except TypeError:
        raise TypeError(f"max_steps must be a whole number, got {steps!r}") from None
    if steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {steps}")
    return int(steps)


def check_until(until: object, scheduled: bool) -> None:
    """Look at the options of such a run.

    Raises:
        ModelError: for another word than there is.
        OptimizerError: with a schedule.
    """
    if until != "converged":
        raise ModelError(f'until must be "converged", or None for a number of steps; got {until!r}')
    if scheduled:
        raise OptimizerError('until="converged" sets the rates itself: leave out scheduled=True')


def run_until_converged(
    fitted: Fittable,
    state: Run,
    arguments: tuple[Args, Kwargs],
    rule: StoppingRule,
    max_steps: int,
    progress: bool,
    callback: Callback | None,
    callback_interval: int,
) -> SVIResult:
    """See :meth:`ember.infer.SVI.run`."""
    converger = Converger(fitted, lambda: arguments, rule)

    def both(step: int, loss: float) -> bool:
        ends = step % rule.every == 0 and converger.after(step)
        if callback is not None and step % callback_interval == 0:
            ends = bool(callback(step, loss)) or ends
        return ends

    interval = rule.every if callback is None else math.gcd(rule.every, callback_interval)
    try:
        result = run(state, max_steps, progress, both, interval)
    except BaseException:
        converger.put_rates_back()
        raise
    return replace(result, convergence=converger.finish(result.num_steps))


__all__ = ["NOT_GIVEN", "check_until", "run_until_converged", "steps_and_arguments"]
