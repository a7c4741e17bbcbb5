"""Simulation-based calibration: over data drawn from a model, the truth is a draw like any other of an "ok" fit.

``python -m tools.trust.calibration [--runs 300]``. Ranks of the truth among resampled draws are uniform if posteriors are right
(S. Talts, M. Betancourt, D. Simpson, A. Vehtari and A. Gelman, 2018). Fails where a chi-square of 20 bins has chance below 1e-4.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.fit import Options, fit_density
from ember.infer.vi.density import FunctionDensity

RANKS, BINS = 99, 20
Simulated = tuple[Tensor, FunctionDensity]


@dataclass(frozen=True)
class Calibration:
    """What came of one model: verdicts that were ok, of so many; ranks ``(runs, D)`` of these; chances ``(D,)``."""

    name: str
    runs: int
    ok: int
    ranks: Tensor

    @property
    def chances(self) -> Tensor:
        """Of a chi-square as large as that of each coordinate, if ranks are uniform."""
        counts = torch.stack([torch.histc(column, BINS, 0, RANKS + 1) for column in self.ranks.T])
        expected = len(self.ranks) / BINS
        chi_square = ((counts - expected).square() / expected).sum(-1)
        half = torch.tensor((BINS - 1) / 2, dtype=torch.double)
        found: Tensor = torch.special.gammaincc(half, chi_square.double() / 2)
        return found


def logistic(generator: torch.Generator) -> Simulated:
    """Three coefficients, N(0, 2) each, 25 outcomes."""
    x = torch.randn(25, 3, dtype=torch.double, generator=generator)
    b = 2 * torch.randn(3, dtype=torch.double, generator=generator)
    y = torch.bernoulli((x @ b).sigmoid(), generator=generator)

    def log_prob(u: Tensor) -> Tensor:
        logits = u @ x.T
        return (y * logits - torch.nn.functional.softplus(logits)).sum(-1) - 0.125 * u.square().sum(-1)

    return b, FunctionDensity(3, log_prob)


def few_numbers(generator: torch.Generator) -> Simulated:
    """Place N(0, 3) and log scale N(0, 1) of five normal numbers: skewed, with long tails."""
    u = torch.randn(2, dtype=torch.double, generator=generator) * torch.tensor([3.0, 1.0], dtype=torch.double)
    y = u[0] + u[1].exp() * torch.randn(5, dtype=torch.double, generator=generator)

    def log_prob(u: Tensor) -> Tensor:
        z = (y - u[:, :1]) * torch.exp(-u[:, 1:])
        return -0.5 * z.square().sum(-1) - 5 * u[:, 1] - 0.5 * (u[:, 0] / 3).square() - 0.5 * u[:, 1].square()

    return u, FunctionDensity(2, log_prob)


def groups(generator: torch.Generator) -> Simulated:
    """A mean N(0, 1), a log spread N(-1, 1), four groups through noise, one measurement each with error 0.5."""
    u = torch.randn(6, dtype=torch.double, generator=generator)
    u[1] -= 1
    y = u[0] + u[1].exp() * u[2:] + 0.5 * torch.randn(4, dtype=torch.double, generator=generator)

    def log_prob(u: Tensor) -> Tensor:
        level = u[:, :1] + u[:, 1:2].exp() * u[:, 2:]
        prior = u[:, 0].square() + (u[:, 1] + 1).square() + u[:, 2:].square().sum(-1)
        return -2 * (y - level).square().sum(-1) - 0.5 * prior

    return u, FunctionDensity(6, log_prob)


MODELS: Mapping[str, Callable[[torch.Generator], Simulated]] = {
    "logistic regression": logistic,
    "five numbers": few_numbers,
    "four groups": groups,
}


def calibrated(name: str, runs: int, options: Options) -> Calibration:
    """Simulate, fit, rank; only fits that are called ok count."""
    generator = torch.Generator().manual_seed(1)
    ranks = []
    for run in range(runs):
        truth, density = MODELS[name](generator)
        outcome = fit_density(density, options=Options(draws=options.draws, budget=options.budget, seed=run))
        if outcome.verdict:
            chosen = torch.multinomial(
                outcome.log_weights.exp(), RANKS, replacement=True, generator=generator
            )
            ranks.append((outcome.draws[chosen] < truth).sum(0))
    return Calibration(name, runs, len(ranks), torch.stack(ranks).double())


def main() -> int:
    """A line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    worst = 1.0
    for name in MODELS:
        found = calibrated(name, runs, Options(draws=1 << 13, budget=60.0))
        chances = ", ".join(f"{chance:.3f}" for chance in found.chances.tolist())
        print(
            f"{name}: {found.ok} of {runs} fits ok; chance of their ranks, a coordinate each: {chances}",
            flush=True,
        )
        worst = min(worst, float(found.chances.min()))
    return int(worst < 1e-4)


if __name__ == "__main__":
    sys.exit(main())
