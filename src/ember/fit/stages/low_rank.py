"""A normal with few correlated directions, for many coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ember.fit.state import State, defended
from ember.infer.vi.families.low_rank import LowRankNormal
from ember.infer.vi.low_rank import LowRank, low_rank
from ember.infer.vi.low_rank import Step as LowRankStep
from ember.infer.vi.natural_gradient import Certificate

_WINDOW = 100


@dataclass(frozen=True)
class FitLowRank:
    """Path gradients in the units of the start."""

    settings: LowRank = field(default_factory=LowRank)
    name: str = "low-rank"

    def applies(self, state: State) -> bool:
        """Always."""
        return True

    def rows(self, state: State) -> int:
        """Training and judging."""
        return self.settings.steps * self.settings.batch + (1 << 13)

    def overhead(self, state: State) -> float:
        """A small factorisation a step."""
        return self.settings.steps * (1e-3 + 1e-8 * state.p.dim * self.settings.rank * self.settings.batch)

    def run(self, state: State) -> None:
        """Fit and judge."""
        start = state.low_rank or _of(state, self.settings.rank)
        steps: list[LowRankStep] = []
        for step in state.until_spent(low_rank(state.p, start, self.settings, state.options.seed)):
            steps.append(step)
            state.low_rank = step.normal
            state.losses.append(-step.elbo)
            state.options.watch(self.name, step.elbo)
        state.certificate = certified(steps[-_WINDOW:])
        normal = steps[-1].normal
        state.guide = normal
        state.judge(self.name, normal, defended(normal, normal))


def _of(state: State, rank: int) -> LowRankNormal:
    """What was located, with its widest directions."""
    assert state.normal is not None, "this stage comes after locating"
    root = state.normal.scale_tril
    sd = root.square().sum(-1).sqrt()
    values, vectors = torch.linalg.eigh((root / sd.unsqueeze(-1)) @ (root / sd.unsqueeze(-1)).mT)
    kept = min(rank, len(sd) - 1)
    rest = values[: len(sd) - kept].mean().clamp_min(1e-12)
    wide = (values[len(sd) - kept :] / rest - 1).clamp_min(0).sqrt()
    factor = vectors[:, len(sd) - kept :] * wide if kept else torch.zeros(len(sd), 1, dtype=torch.double)
    return LowRankNormal.of(state.normal.loc, sd * rest.sqrt(), factor)


def certified(steps: list[LowRankStep]) -> Certificate:
    """From the residuals of the last steps."""
    gradient = torch.stack([step.gradient for step in steps])
    scale = torch.stack([step.scale for step in steps])
    root = math.sqrt(max(len(steps), 1))
    return Certificate.of_means(
        gradient.mean(0), gradient.std(0) / root, scale.mean(0), scale.std(0) / root, 1.0
    )
