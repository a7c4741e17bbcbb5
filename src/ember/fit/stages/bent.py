"""Families that bend a normal: skewed coordinates, and a flow."""

from __future__ import annotations

from dataclasses import dataclass, field

from ember.fit.state import State, found_normal
from ember.infer.vi.families.couplings import Couplings
from ember.infer.vi.families.family import Family
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.skewed import SinhArcsinh
from ember.infer.vi.families.warped import Warped
from ember.infer.vi.path_gradient import PathGradient, path_gradient

MOST_DIMS_OF_A_FLOW = 200


@dataclass(frozen=True)
class FitSkewed:
    """Skewness and tails of each whitened coordinate."""

    training: PathGradient = field(default_factory=PathGradient)
    name: str = "skewed"

    def applies(self, state: State) -> bool:
        """A known second mode is nothing that a bend reaches."""
        missed = state.misses_modes(state.judged[-1]) if state.judged else bool(state.far)
        return state.normal is not None and not missed

    def rows(self, state: State) -> int:
        """Training and judging."""
        return self.training.steps * self.training.batch + state.options.draws

    def overhead(self, state: State) -> float:
        """Small operators of torch."""
        return self.training.steps * (6e-4 + 2e-7 * self.training.batch * state.p.dim)

    def run(self, state: State) -> None:
        """Train and judge."""
        start = Warped(SinhArcsinh.identity(state.p.dim), found_normal(state))
        family = _trained(state, start, self.training, self.name)
        if isinstance(family.transform, SinhArcsinh):
            state.bend = family.transform
        state.judge(self.name, family, state.defended(family))


@dataclass(frozen=True)
class FitFlow:
    """A flow of couplings, which starts at the skewed fit."""

    training: PathGradient = field(default_factory=lambda: PathGradient(rate=2e-3, steps=1000, batch=192))
    layers: int = 6
    name: str = "flow"

    def applies(self, state: State) -> bool:
        """Couplings need two coordinates, and not too many."""
        return 2 <= state.p.dim <= MOST_DIMS_OF_A_FLOW

    def rows(self, state: State) -> int:
        """Training and judging."""
        return self.training.steps * self.training.batch + state.options.draws

    def overhead(self, state: State) -> float:
        """Small operators of torch."""
        return self.training.steps * self.layers * 8e-4

    def run(self, state: State) -> None:
        """Train, mix with what earlier stages found, and judge."""
        normal = found_normal(state)
        bend = state.bend or SinhArcsinh.identity(state.p.dim)
        flow = Couplings.identity(bend, self.layers, seed=state.options.seed)
        family = _trained(state, Warped(flow, normal), self.training, self.name)
        parts: list[Family] = [family, state.defended(normal)]
        shares = [0.75, 0.25]
        if state.mixture is not None:
            parts, shares = [family, state.mixture, parts[1]], [0.7, 0.2, 0.1]
        state.judge(self.name, family, Mixture(parts, shares))


def _trained(state: State, start: Warped, training: PathGradient, name: str) -> Warped:
    family = start
    for trained in state.until_spent(path_gradient(state.p, start, training, state.options.seed)):
        family = trained.family
        state.options.watch(name, trained.elbo)
    return family
