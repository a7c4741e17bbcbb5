"""What a run until convergence has seen, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RateRecord:
    """What was seen at one rate."""

    rates: dict[str, float]
    """The learning rate of each parameter."""
    steps: int
    """How many were taken at it."""
    window: tuple[int, int]
    """The steps of the run that were looked at last, from and to."""
    r_hat: float
    """The largest split R-hat in the window,"""
    worst: str
    """and of which entry of a parameter."""
    ess: float
    """The smallest effective sample size of an average; 0 where iterates are not stationary."""
    mcse: float
    """The largest Monte Carlo error of an average, in guide units; infinite where they are not stationary."""
    moved: float | None = None
    """By how much halving the rate has moved an average at least, in guide units; None for the first rate."""
    divergence: float | None = None
    """The symmetrised Kullback-Leibler divergence between the averages, in nats, without correlations."""
    gain: float | None = None
    """By how much the loss has fallen, where parameters are not the guide's."""


@dataclass(frozen=True)
class Convergence:
    """Whether a run has converged, and what was seen; true only if it has."""

    converged: bool
    why: str
    """In words."""
    rates: tuple[RateRecord, ...]
    """One for each rate, in order."""
    averaged: bool
    """Whether the parameters in the store are averages, instead of the last iterates."""

    def __bool__(self) -> bool:
        return self.converged

    def __str__(self) -> str:
        lines = [("converged: " if self.converged else "not converged: ") + self.why]
        for record in self.rates:
            rates = sorted(set(record.rates.values()))
            shown = (
                f"{rates[0]:.3g}"
                if len(rates) == 1
                else f"{rates[0]:.3g} to {rates[-1]:.3g}"
                if rates
                else "?"
            )
            change = "" if record.moved is None else f", average moved by {record.moved:.2f}"
            lines.append(
                f"  rate {shown}: {record.steps:,} steps, R-hat {record.r_hat:.2f} ({record.worst}), ESS {record.ess:.0f}, "
                f"error {record.mcse:.2f}{change}"
            )
        return "\n".join(lines)
