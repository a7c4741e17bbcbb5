"""The best proposal so far, with t's where the target has more than it gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ember.fit.state import Judged, State, found_normal
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.normal import Normal, StudentT
from ember.infer.vi.population import Population, population

KEPT = 0.6  # share of the old proposal at first
LEAST = 0.3  # of the draws are effective


@dataclass(frozen=True)
class Patch:
    """Components begin at draws of large weight and adapt, while the old proposal stays: a second proposal, for little."""

    settings: Population = field(default_factory=lambda: Population(rounds=5, draws=8192, df=5, components=8))
    name: str = "patched"

    def applies(self, state: State) -> bool:
        """Where a proposal is good or nearly: most of its draws count, or its means can be used."""
        if state.normal is None or not state.judged:
            return False
        return _share(closest(state)) > LEAST or state.best().weighed.means_hold(state.options.limits)

    def rows(self, state: State) -> int:
        """Rounds and judging."""
        return self.settings.rounds * self.settings.draws + state.options.draws

    def overhead(self, state: State) -> float:
        """Densities of old and new components at all draws."""
        return 0.05 + self.rows(state) * (3e-9 * self.settings.components * state.p.dim**2 + 3e-6)

    def run(self, state: State) -> None:
        """Adapt and judge."""
        best = closest(state)
        generator = torch.Generator().manual_seed(state.options.seed)
        weights = torch.softmax(2 * best.weighed.log_ratios, 0)
        chosen = torch.multinomial(weights, self.settings.components, replacement=True, generator=generator)
        scale = 0.5 * found_normal(state).scale_tril
        patches = [StudentT(Normal(place, scale), self.settings.df) for place in best.weighed.u[chosen]]
        share = (1 - KEPT) / len(patches)
        proposal = Mixture([best.proposal, *patches], [KEPT, *([share] * len(patches))])
        rounds = population(state.p, proposal, self.settings, state.options.seed)
        for adapted in state.until_spent(rounds):
            proposal = adapted
            state.options.watch(self.name, float("nan"))
        state.judge(self.name, best.family, proposal)


def closest(state: State) -> Judged:
    """The proposal with the largest share of effective draws."""
    return max(state.judged, key=_share)


def _share(judged: Judged) -> float:
    return judged.weighed.ess / len(judged.weighed.u)
