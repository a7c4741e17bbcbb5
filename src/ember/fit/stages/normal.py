"""Where the mass is, and a normal there."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ember.fit.state import State, defended, found_normal
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.locate import Newton, newton, starting_points
from ember.infer.vi.natural_gradient import Certificate, NaturalGradient, Step, natural_gradient

FAR = 3.0  # standard deviations of the fit
NEGLIGIBLE = 8.0  # nats
ROUNDS = 3


@dataclass(frozen=True)
class Locate:
    """Find where the mass is."""

    newton: Newton = field(default_factory=Newton)
    name: str = "locate"

    def applies(self, state: State) -> bool:
        """Always."""
        return True

    def rows(self, state: State) -> int:
        """A dozen steps."""
        return 12 * self.newton.starts * 2 * state.p.dim

    def overhead(self, state: State) -> float:
        """Eigenvectors, mostly."""
        return 0.02 + 12 * self.newton.starts * (state.p.dim / 1000) ** 3

    def run(self, state: State) -> None:
        """Newton from several starts; the best normal on the way."""
        starts = starting_points(state.p.dim, self.newton, state.options.seed)
        for located in state.until_spent(newton(state.p, starts, self.newton, state.options.seed)):
            state.located = located
            state.normal = located.best[0].normal
            state.options.watch(self.name, located.best[0].elbo)


@dataclass(frozen=True)
class FitNormal:
    """Fit a normal, and look whether starts ended elsewhere."""

    settings: NaturalGradient = field(default_factory=NaturalGradient)
    name: str = "full-rank"

    def applies(self, state: State) -> bool:
        """Always."""
        return True

    def rows(self, state: State) -> int:
        """Of one round, and of the draws that are judged."""
        return 100 * self.settings.batch_for(state.p.dim) + state.options.draws

    def overhead(self, state: State) -> float:
        """Matrices of the batch, and eigenvectors."""
        dim = state.p.dim
        return 0.05 + 100 * (self.settings.batch_for(dim) * dim**2 * 1e-9 + (dim / 400) ** 3)

    def run(self, state: State) -> None:
        """Rounds of natural gradients until the certificate holds; then the draws are judged."""
        for number in range(ROUNDS):
            steps: list[Step] = []
            seed = 31 * state.options.seed + number
            for step in state.until_spent(
                natural_gradient(state.p, found_normal(state), self.settings, seed)
            ):
                steps.append(step)
                state.normal = step.normal
                state.losses.append(-step.elbo)
                state.options.watch(self.name, step.elbo)
            averaged = [step for step in steps if step.averaging] or steps
            state.certificate = Certificate.of(averaged)
            if state.certificate.holds or state.interrupted:
                break
        normal = found_normal(state)
        state.guide = normal
        state.far = far_modes(state, normal)
        state.judge(self.name, normal, defended(normal, normal))


def far_modes(state: State, normal: Normal) -> tuple[Normal, ...]:
    """Normals at places where starts ended, away from the fit, and whose mass is not negligible beside it."""
    if state.located is None:
        return ()
    elbo = -state.losses[-1]
    found: list[Normal] = []
    for candidate in state.located.best:
        apart = [
            float(torch.linalg.vector_norm(q.whiten(candidate.normal.loc.unsqueeze(0))))
            for q in (normal, *found)
        ]
        if min(apart) > FAR and candidate.elbo > elbo - NEGLIGIBLE:
            found.append(candidate.normal)
    return tuple(found)
