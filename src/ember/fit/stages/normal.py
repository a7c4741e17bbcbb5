"""Where the mass is, and a normal there."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ember.fit.stages.elsewhere import elsewhere
from ember.fit.stages.low_rank import FitLowRank
from ember.fit.state import State, defended, found_normal
from ember.infer.vi.locate import Candidate, Located, Newton, newton, starting_points
from ember.infer.vi.natural_gradient import Certificate, NaturalGradient, Step, natural_gradient
from ember.infer.vi.pathfinder import pathfinder

ROUNDS = 3
MOST_DIMS_OF_NEWTON, MOST_DIMS_OF_A_TRIANGLE = 200, 500


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
        if state.p.dim > MOST_DIMS_OF_NEWTON:
            return 100 * 33 * self.newton.starts
        return 12 * self.newton.starts * 2 * state.p.dim

    def overhead(self, state: State) -> float:
        """Eigenvectors, mostly."""
        if state.p.dim > MOST_DIMS_OF_NEWTON:
            return 100 * self.newton.starts * (1e-3 + 2e-6 * state.p.dim)
        return 0.02 + 12 * self.newton.starts * (state.p.dim / 1000) ** 3

    def run(self, state: State) -> None:
        """Newton from several starts, the best normal on the way; in many dims quasi-Newton."""
        starts = starting_points(state.p.dim, self.newton, state.options.seed)
        if state.p.dim > MOST_DIMS_OF_NEWTON:
            self._paths(state, starts)
            return
        for located in state.until_spent(newton(state.p, starts, self.newton, state.options.seed)):
            state.located = located
            state.normal = located.best[0].normal
            state.options.watch(self.name, located.best[0].elbo)

    def _paths(self, state: State, starts: Tensor) -> None:
        """Pathfinder; a triangle of its normals where that is not too large."""
        for paths in state.until_spent(pathfinder(state.p, starts, seed=state.options.seed)):
            if paths:
                state.low_rank = paths[0].normal
                state.options.watch(self.name, paths[0].elbo)
        if state.p.dim <= MOST_DIMS_OF_A_TRIANGLE:
            best = tuple(Candidate(path.elbo, path.normal.dense(), path.start) for path in paths[:3])
            state.located = Located(best, 0, True)
            state.normal, state.low_rank = best[0].normal, None


@dataclass(frozen=True)
class FitNormal:
    """Fit a normal, and look whether starts ended elsewhere."""

    settings: NaturalGradient = field(default_factory=NaturalGradient)
    judged: bool = True
    name: str = "full-rank"

    def applies(self, state: State) -> bool:
        """Always."""
        return True

    def rows(self, state: State) -> int:
        """Of one round, and of the draws that are judged."""
        if state.low_rank is not None:
            return FitLowRank().rows(state)
        return 100 * self.settings.batch_for(state.p.dim) + state.options.draws

    def overhead(self, state: State) -> float:
        """Matrices of the batch, and eigenvectors."""
        dim = state.p.dim
        if state.low_rank is not None:
            return FitLowRank().overhead(state)
        return 0.05 + 100 * (self.settings.batch_for(dim) * dim**2 * 1e-9 + (dim / 400) ** 3)

    def run(self, state: State) -> None:
        """Rounds of natural gradients until the certificate holds; then the draws are judged. In many dims low rank."""
        if state.low_rank is not None:
            FitLowRank().run(state)
            return
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
        if self.judged:
            state.judge(self.name, normal, defended(normal, normal))
        state.far = elsewhere(state, normal)
