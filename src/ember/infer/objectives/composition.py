"""What an objective is made of: how its traces are made, what a pair of them is worth, and how particles are put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ember.infer.terms.estimate import Combination, Mean, Terms
from ember.infer.terms.pairing import Pairing, SampledPairing
from ember.infer.traces.run import Runner


@dataclass(frozen=True)
class Composition:
    """The parts of an objective, as values."""

    runner: Runner
    """One by one, vectorised, or enumerated."""
    terms: Terms
    """The estimator: what a pair of traces is worth."""
    pairing: Pairing = field(default_factory=SampledPairing)
    """How a pair of traces is made."""
    combination: Combination = field(default_factory=Mean)
    """A mean over particles, or a function of all of them (with a control variate that compares them, say)."""
    needs_gradient: bool = False
    """Whether a loss that cannot be differentiated is an error."""
