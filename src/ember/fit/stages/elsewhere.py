"""Places with mass that a fit does not see: what other starts found, what a second search finds, and what lies farther out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, overload

import torch
from torch import Tensor

from ember.fit.state import State, defended
from ember.infer.density.judging.places import Place, is_above
from ember.infer.vi.density import Counted
from ember.infer.vi.families.charts import AffineChart
from ember.infer.vi.families.family import Family
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.normal import Normal, triangular
from ember.infer.vi.families.widened import Widened
from ember.infer.vi.laplace import Curvature, hessians
from ember.infer.vi.lbfgs import Ascent, Lbfgs, lbfgs
from ember.infer.vi.quasi_random import NormalPoints

NEGLIGIBLE = 1e-3  # of the mass
SLACK = 2.0  # nats: around a mode a density may be farther above a fit than at it
MET = 2.0  # nats: where weights are bad, what few draws have met is good to know, too
FEWEST = 4  # draws far out that show a place
DRAWS, DRAWS_FAR_OUT = 256, 4096
RADII = (4.0, 8.0)  # first starts know nothing of the scale: these are so many standard deviations out
STARTS, HEAVIEST = 8, 4
SAME = 0.1  # standard deviations of the fit
MOST = 4
SEARCH = Lbfgs(memory=10, iterations=60)


@dataclass(frozen=True)
class Whitened:
    """A density in the whitened coordinates of a normal."""

    p: Counted
    normal: Normal

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return self.p.dim

    @overload
    def __call__(self, u: Tensor, grad: Literal[True] = True) -> tuple[Tensor, Tensor]: ...

    @overload
    def __call__(self, u: Tensor, grad: Literal[False]) -> Tensor: ...

    def __call__(self, u: Tensor, grad: bool = True) -> Tensor | tuple[Tensor, Tensor]:
        if not grad:
            return self.p.value(self.normal.unwhiten(u))
        at = AffineChart(self.normal).places(self.p, u)
        return at.log_p, at.score


@dataclass(frozen=True)
class _Look:
    """What a fit sees: its proposal, and the mass that it accounts for."""

    state: State
    normal: Normal
    proposal: Family
    log_evidence: float
    met: float

    def place(self, normal: Normal, family: Family, draws: int) -> Place:
        """The target around another normal."""
        state = self.state
        return Place.of(state.p, state.quantities, normal, family, draws, state.options.seed)

    def is_new(self, place: Place, known: tuple[Place, ...]) -> bool:
        """Whether there is mass at a place that neither the fit nor other places know of."""
        proposal = self.proposal
        if known:
            share = 0.5 / len(known)
            proposal = Mixture((proposal, *(other.normal for other in known)), (0.5, *([share] * len(known))))
        return float(place.unseen(proposal, self.log_evidence, self.met).sum()) > NEGLIGIBLE


def elsewhere(state: State, normal: Normal) -> tuple[Place, ...]:
    """Places whose mass is not negligible, and where draws of the fit do not fall."""
    judged = state.judged[-1].weighed if state.judged else None
    log_evidence = judged.log_evidence if judged is not None else -state.losses[-1]
    met = MET if judged is not None and not judged.k_hat < state.options.limits.k_hat else 0.0
    look = _Look(state, normal, defended(normal, normal), log_evidence, met)
    found: tuple[Place, ...] = ()
    for other in _others(look):
        place = look.place(other, other, DRAWS)
        if look.is_new(place, found):
            found = (*found, place)
    if state.left > 0:
        outside = look.place(normal, Widened(normal), DRAWS_FAR_OUT)
        wide = _as_wide(look, outside)
        if wide is not None and look.is_new(outside, found):
            found = (*found, replace(outside, normal=wide))
    return found[:MOST]


def _others(look: _Look) -> list[Normal]:
    """Normals at modes that rise above what the fit accounts for, of first starts and of a second search."""
    state = look.state
    known = [] if state.located is None else [found.normal for found in state.located.best]
    if known:
        at = torch.stack([normal.loc for normal in known])
        above = is_above(at, state.p.value(at), look.proposal, look.log_evidence, SLACK + look.met)
        known = [normal for normal, high in zip(known, above.tolist(), strict=True) if high]
    return known + (_searched(look) if state.left > 0 else [])


def _as_wide(look: _Look, outside: Place) -> Normal | None:
    """The fit, widened to where its wide copies have met mass; None if too few have."""
    unseen = outside.unseen(look.proposal, look.log_evidence, look.met)
    mass = unseen.sum()
    if not float(mass.square()) > FEWEST * float(unseen.square().sum()):
        return None
    squares = look.normal.whiten(outside.u).square().mean(-1)
    scale = ((unseen / mass) * squares).sum().sqrt()
    return Normal(look.normal.loc, scale * look.normal.scale_tril)


def _searched(look: _Look) -> list[Normal]:
    """Ascend from places some standard deviations away, and from the draws that weigh most."""
    state, normal, dim = look.state, look.normal, look.state.p.dim
    e = NormalPoints(dim, state.options.seed + 17).draw(STARTS)
    starts = e * torch.tensor(RADII, dtype=torch.double).repeat(STARTS // len(RADII)).unsqueeze(-1)
    if state.judged:
        weighed = state.judged[-1].weighed
        heaviest = weighed.u[weighed.log_ratios.topk(HEAVIEST).indices]
        starts = torch.cat([starts, normal.whiten(heaviest)])
    ascent: Ascent | None = None
    for step in lbfgs(Counted(Whitened(state.p, normal)), starts, SEARCH):
        ascent = step
        if state.left <= 0:
            return []
    if ascent is None:
        return []
    ended = ascent.u[torch.isfinite(ascent.log_p)]
    places: list[Tensor] = []
    for place in ended:
        if all(float((place - other).norm()) > SAME for other in places):
            places.append(place)
    if not places:
        return []
    at = normal.unwhiten(torch.stack(places))
    above = is_above(at, state.p.value(at), look.proposal, look.log_evidence, SLACK + look.met)
    return [_laplace(state.p, place, normal) for place in at[above]]


def _laplace(p: Counted, place: Tensor, normal: Normal) -> Normal:
    """Laplace's normal, in the units of a fit at first, then in its own."""
    at, root = place.unsqueeze(0), normal.scale_tril.unsqueeze(0)
    for _ in range(2):
        root = Curvature.of(hessians(p, at, 1e-3 * root.square().sum(-1).sqrt())).roots()
    return Normal(place, triangular(root[0]))
