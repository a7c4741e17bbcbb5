"""A mixture of t's, which covers bends and several modes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ember.fit.state import State, found_normal
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.population import Population, first_mixture, population


@dataclass(frozen=True)
class FitMixture:
    """The fit, its shifted copies, and the other places that starts found."""

    settings: Population = field(default_factory=Population)
    name: str = "mixture"

    def applies(self, state: State) -> bool:
        """Where a triangle is not too large."""
        return state.normal is not None

    def rows(self, state: State) -> int:
        """Rounds and judging."""
        return self.settings.rounds * self.settings.draws + state.options.draws

    def overhead(self, state: State) -> float:
        """Densities of the components at all draws."""
        flops = self.rows(state) * self.settings.components * state.p.dim**2
        return 0.02 + 2e-9 * flops

    def run(self, state: State) -> None:
        """Adapt and judge."""
        normal = found_normal(state)
        others = [] if state.located is None else [found.normal for found in state.located.best[:3]]
        start = first_mixture(
            [normal, *(place.normal for place in state.far), *others], self.settings, state.options.seed
        )
        state.mixture = start
        for mixture in state.until_spent(population(state.p, start, self.settings, state.options.seed)):
            state.mixture = mixture
            state.options.watch(self.name, float("nan"))
        fitted = state.mixture
        state.judge(
            self.name,
            fitted,
            Mixture((fitted, state.defended(normal)), (0.7, 0.3) if state.far else (0.8, 0.2)),
        )
