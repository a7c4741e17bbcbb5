"""Modes away from a fit: what other starts found, and what a second search, in units of the fit, finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from ember.fit.state import State
from ember.infer.vi.density import Counted
from ember.infer.vi.families.charts import AffineChart
from ember.infer.vi.families.normal import Normal, triangular
from ember.infer.vi.laplace import Curvature, elbos, hessians
from ember.infer.vi.lbfgs import Ascent, Lbfgs, lbfgs
from ember.infer.vi.locate import Candidate
from ember.infer.vi.quasi_random import NormalPoints

FAR = 3.0  # standard deviations of the fit
NEGLIGIBLE = 8.0  # nats
RADII = (4.0, 8.0)  # first starts know nothing of the scale: these are so many standard deviations out
STARTS, POINTS = 8, 32
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


def far_modes(state: State, normal: Normal) -> tuple[Normal, ...]:
    """Normals at modes away from the fit whose mass is not negligible beside it."""
    least = -state.losses[-1] - NEGLIGIBLE
    found: list[Normal] = []
    for candidate in _candidates(state, normal):
        place = candidate.normal.loc.unsqueeze(0)
        apart = min(float(q.whiten(place).norm()) for q in (normal, *found))
        if apart > FAR and candidate.elbo > least:
            found.append(candidate.normal)
    return tuple(found)


def _candidates(state: State, normal: Normal) -> Iterator[Candidate]:
    if state.located is not None:
        yield from state.located.best
    if state.left > 0:
        yield from searched(state, normal)


def searched(state: State, normal: Normal) -> Iterator[Candidate]:
    """Ascend from places some standard deviations away; Laplace's normals where that ends far from the fit."""
    p, dim = state.p, state.p.dim
    e = NormalPoints(dim, state.options.seed + 17).draw(STARTS)
    starts = e * torch.tensor(RADII, dtype=torch.double).repeat(STARTS // len(RADII)).unsqueeze(-1)
    ascent: Ascent | None = None
    for step in lbfgs(Counted(Whitened(p, normal)), starts, SEARCH):
        ascent = step
        if state.left <= 0:
            return
    if ascent is None:
        return
    ended = ascent.u[torch.isfinite(ascent.log_p) & (ascent.u.norm(dim=-1) > FAR)]
    places: list[Tensor] = []
    for place in ended:
        if all(float((place - other).norm()) > 0.1 for other in places):
            places.append(place)
    points = NormalPoints(dim, state.options.seed).draw(POINTS)
    scale = normal.scale_tril.square().sum(-1).sqrt()
    for number, place in enumerate(normal.unwhiten(torch.stack(places)) if places else ()):
        at = place.unsqueeze(0)
        curvature = Curvature.of(hessians(p, at, 1e-3 * scale.unsqueeze(0)))
        root = curvature.roots()
        elbo = float(elbos(p, at, root, curvature.log_dets(), points))
        yield Candidate(elbo, Normal(place, triangular(root[0])), 100 + number)
