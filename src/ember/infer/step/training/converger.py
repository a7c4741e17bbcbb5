"""Steps at a constant rate until iterates are stationary, their average, half the rate, and so on until that is not worth it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ember.infer.objectives.losses.values import parts
from ember.infer.step.convergence.diagnostics import Average, average
from ember.infer.step.convergence.iterates import Iterates
from ember.infer.step.convergence.record import Convergence, RateRecord
from ember.infer.step.convergence.rule import Look, StoppingRule, divergence, largest, look, moved
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.training.parameters import Parameters
from ember.infer.step.training.units import guide_units
from ember.ops.scalars import total
from ember.optim import PyroOptim
from ember.params.param_store import ParamStoreDict
from ember.rng import fork_torch_rng

_SEED, _PAIRS = 20_261_201, 16
_GAIN = 0.1
"""Nats that another halving must gain, where parameters are not the guide's."""


class Fittable(Protocol):
    """What is run until it converges."""

    guide: Callable[..., Any]
    optim: PyroOptim

    def store(self) -> ParamStoreDict:
        """Where the parameters are."""

    def evaluate_loss(self, *args: object, **kwargs: object) -> Any:
        """The loss."""


class Converger:
    """Watches a run through its parameters, which it averages, and its rates, which it halves.

    Args:
        fitted: what is run.
        arguments: the arguments of the last step.
        rule: when to do what.
    """

    def __init__(
        self, fitted: Fittable, arguments: Callable[[], tuple[Args, Kwargs]], rule: StoppingRule
    ) -> None:
        self.rule = rule
        self._fitted = fitted
        self._arguments = arguments
        self._moving = Parameters(fitted.optim, fitted.store)
        self._iterates = Iterates(rule.every)
        self._begun = 0
        self._next = rule.window
        self._units: Tensor | None = None
        self._halved = 0
        self._last: Look | None = None
        self._known: Average | None = None
        """The average at the rate before."""
        self._records: list[RateRecord] = []
        self._seen: dict[str, float] = {}
        """The rates as they were left here."""
        self._why: str | None = None

    def after(self, step: int) -> bool:
        """To be called after every :attr:`StoppingRule.every` steps; whether the run is to end.

        Raises:
            OptimizerError: if the optimizer has no rate that stays as it is set.
        """
        row = self._moving.read()
        if not self._seen:
            self._moving.check_rates()
            self._seen = self._moving.rates()
        elif self._changed_outside(row):
            self._begin(step)
        self._iterates.note(row)
        if step - self._begun < self._next:
            return False
        self._next = self.rule.next_look(step - self._begun)
        return self._look(step)

    def finish(self, step: int) -> Convergence:
        """After the run, however it has ended: averages that there are go to the store, and rates back to where they were."""
        self.put_rates_back()
        if self._why is not None:
            return Convergence(True, self._why, tuple(self._records), True)
        why = f"the run ended after {step:,} steps"
        if len(self._iterates) and (self._last is None or self._last.average is None):
            self._last = look(self._iterates.rows, None, self.rule)
        if self._last is not None and len(self._iterates):
            self._records.append(self._record(step, self._last))
        settled = None if self._last is None else self._last.average
        if settled is None and self._last is not None:
            why += f", R-hat {self._last.window.worst:.2f} of {self._records[-1].worst}: it is still moving"
        elif settled is not None:
            settled = (
                average(self._iterates.rows[self._last.window.start :]) if self._last is not None else settled
            )
            why += ", before the average was known well enough, or another rate had confirmed it"
        kept = settled if settled is not None else self._known
        if kept is not None:
            self._moving.write(kept.mean)
        return Convergence(False, why, tuple(self._records), kept is not None)

    def put_rates_back(self) -> None:
        """To what they were before the first halving."""
        if self._halved:
            self._moving.scale_rates(2.0**self._halved)
            self._halved = 0

    def _changed_outside(self, row: Tensor) -> bool:
        """Whether somebody has put other parameters in the place of those that were noted, or has changed rates."""
        rates = self._moving.rates()
        if rates == self._seen and (not len(self._iterates) or row.shape == self._iterates.rows.shape[1:]):
            return False
        self._moving.check_rates()
        self._seen = rates
        self._known = self._units = None
        return True

    def _begin(self, step: int) -> None:
        self._iterates.clear()
        self._begun, self._next, self._last = step, self.rule.window, None

    def _look(self, step: int) -> bool:
        rows = self._iterates.rows
        found = look(rows, self._units, self.rule)
        if found is not None and found.average is not None and self._units is None:
            args, kwargs = self._arguments()
            leaves = list(self._moving.leaves().values())
            with self._fitted.store().active():
                self._units = guide_units(self._fitted.guide, args, kwargs, leaves)
            found = look(rows, self._units, self.rule)
        self._last = found
        return found is not None and found.is_known(self.rule) and self._next_rate(step, found)

    def _next_rate(self, step: int, found: Look) -> bool:
        """Note the average of this rate; half the rate, if that is worth it."""
        now, units = found.average, self._units
        assert now is not None and units is not None
        if self._known is None:
            record = self._record(step, found)
            done = not bool((now.mcse > 0).any())
            why = "iterates do not change any more"
        else:
            gain, worth = self._gain(self._known, now, units)
            by = moved(self._known, now, units)
            record = self._record(step, found, by, divergence(self._known, now, units), gain)
            done = by < self.rule.moved and not worth
            why = f"halving the rate moved no average by more than {by:.2f} standard deviations of the guide"
        self._records.append(record)
        self._moving.write(now.mean)
        if done:
            self._why = why
            return True
        self._known, self._units = now, None
        self._moving.scale_rates(0.5)
        self._halved += 1
        self._seen = self._moving.rates()
        self._begin(step)
        return False

    def _gain(self, before: Average, now: Average, units: Tensor) -> tuple[float | None, bool]:
        """By how much the loss has fallen, and whether that is worth another rate; asked where some units are not known."""
        if not bool((units == 0).any()):
            return None, False
        args, kwargs = self._arguments()
        losses: list[list[float]] = []
        with fork_torch_rng():
            for row in (before.mean, now.mean):
                self._moving.write(row)
                losses.append([])
                for pair in range(_PAIRS):
                    torch.manual_seed(_SEED + pair)
                    losses[-1].append(float(total(parts(self._fitted.evaluate_loss(*args, **kwargs)))))
        gains = torch.tensor(losses[0], dtype=torch.float64) - torch.tensor(losses[1], dtype=torch.float64)
        gain, error = float(gains.mean()), float(gains.std()) / math.sqrt(_PAIRS)
        return gain, gain - 2.0 * error > _GAIN

    def _record(
        self,
        step: int,
        found: Look,
        by: float | None = None,
        apart: float | None = None,
        gain: float | None = None,
    ) -> RateRecord:
        r_hat = found.window.r_hat
        begin = self._begun + found.window.start * self._iterates.every
        labels = self._moving.labels()
        worst = labels[int(r_hat.argmax())] if r_hat.numel() else ""
        steps = step - self._begun
        return RateRecord(
            dict(self._seen),
            steps,
            (begin, step),
            largest(r_hat),
            worst,
            found.ess,
            found.mcse,
            by,
            apart,
            gain,
        )


__all__ = ["Converger", "Fittable"]
