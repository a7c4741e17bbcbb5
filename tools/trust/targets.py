"""Fits of known answers, over seeds: was the verdict right?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.fit.known_answers import Target

from ember.fit import Options, fit_density
from ember.fit.outcome import Outcome

MEAN, SD = 0.1, 0.1  # the goals: standard deviations, and a fraction


@dataclass(frozen=True)
class Errors:
    """Of the means, in standard deviations; the smallest and largest ratio of standard deviations; false words."""

    mean: float
    low: float
    high: float
    vouched: int = 0
    """How many quantities have a word that vouches for a number which is further off."""

    @staticmethod
    def of(outcome: Outcome, known: Target) -> Errors:
        """Against the known answer."""
        moments = outcome.weighed.moments
        ratio = moments.sd / known.sd
        error = ((moments.mean - known.mean) / known.sd).abs().nan_to_num(float("inf"))
        means = error <= MEAN
        both = means & (ratio >= 1 - SD) & (ratio <= 1 + SD)
        right = {"ok": both, "means only": means}
        vouched = sum(
            word in right and not bool(right[word][column]) for column, word in enumerate(outcome.by_column)
        )
        return Errors(float(error.max()), float(ratio.min()), float(ratio.max()), vouched)

    @property
    def means_met(self) -> bool:
        """Whether all means are within the goal."""
        return self.mean <= MEAN

    @property
    def all_met(self) -> bool:
        """Whether all standard deviations are too."""
        return self.means_met and self.low >= 1 - SD and self.high <= 1 + SD


@dataclass(frozen=True)
class Row:
    """One fit."""

    target: str
    seed: int
    status: str
    stage: str
    errors: Errors
    k_hat: float
    k_square: float
    ess: float
    evaluations: int
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the verdict says what is the case. "ok" needs both goals met, "means only" the means, else neither."""
        if self.errors.vouched:
            return False
        if self.status == "ok":
            return self.errors.all_met
        if self.status == "means only":
            return self.errors.means_met
        return not self.errors.all_met

    @property
    def word(self) -> str:
        """For the table."""
        return "right" if self.right else "FALSE OK" if self.errors.vouched else "wrong"

    def __str__(self) -> str:
        return (
            f"{self.target:36s} {self.seed:3d} {self.status:13s} {self.word:8s} {self.stage:9s} {self.errors.mean:7.3f} "
            f"{self.errors.low:5.2f}-{self.errors.high:4.2f} {self.k_hat:6.2f} {self.k_square:6.2f} {self.ess:7.0f} "
            f"{self.evaluations:8d} {self.seconds:6.2f}"
        )


HEAD = (
    f"{'target':36s} {'':3s} {'verdict':13s} {'':8s} {'stage':9s} {'mean':>7s} {'sd':>10s} {'k-hat':>6s} {'square':>6s} "
    f"{'ess':>7s} {'rows':>8s} {'cpu s':>6s}"
)


def fitted(known: Target, seed: int, options: Options | None = None) -> Row:
    """Fit, and compare."""
    begun = time.process_time()
    outcome = fit_density(known.density, known.quantities, options or Options(seed=seed, budget=600.0))
    seconds = time.process_time() - begun
    weighed = outcome.weighed
    return Row(
        known.name,
        seed,
        outcome.verdict.status,
        outcome.stage,
        Errors.of(outcome, known),
        weighed.k_hat,
        float(weighed.k_squares.max()),
        weighed.ess,
        outcome.evaluations,
        seconds,
    )
