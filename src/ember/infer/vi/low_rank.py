"""Fit a normal with few correlated directions, for hundreds or thousands of coordinates.

References:
    V. Ong, D. Nott and M. Smith (2018), "Gaussian variational approximation with a factor covariance
    structure".
    G. Roeder, Y. Wu and D. Duvenaud (2017), "Sticking the landing".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.averaging import Adam
from ember.infer.vi.density import Counted
from ember.infer.vi.families.low_rank import LowRankNormal
from ember.infer.vi.quasi_random import NormalPoints


@dataclass(frozen=True)
class LowRank:
    """Holds the settings of :func:`low_rank`.

    Attributes:
        rank: how many correlated directions there are.
        rate: the rate of Adam, in standard deviations; constant for the first half of the steps, then
            falling to zero.
        steps: how many steps to take.
        batch: rows a step.
    """

    rank: int = 20
    rate: float = 0.02
    steps: int = 1500
    batch: int = 64

    def rate_at(self, step: int) -> float:
        """Return the rate of one step; ``step`` counts from 0."""
        done = step / self.steps
        return self.rate * min(1.0, 20 * done + 0.02) * (1.0 if done < 0.5 else max(0.005, 2 * (1 - done)))


@dataclass(frozen=True)
class Step:
    """One step: the normal after it, the mean residual in its coordinates and their scales, and the ELBO before it."""

    normal: LowRankNormal
    gradient: Tensor
    scale: Tensor
    elbo: float


def low_rank(p: Counted, start: LowRankNormal, settings: LowRank, seed: int = 0) -> Iterator[Step]:
    """Fit a normal with few correlated directions, ``u = m + s (e + W f)``, by path gradients and Adam.

    It is for hundreds or thousands of coordinates. Steps are in the units of the start's standard deviations.

    Args:
        p: the target, of ``D`` coordinates.
        start: the first normal.
        settings: rank, rate and steps.
        seed: the seed of the draws.

    Yields:
        After each step the ``normal``, the mean residuals ``gradient`` and ``scale``, and the ``elbo`` in
            nats before the step.

    References:
        V. Ong, D. Nott and M. Smith (2018), "Gaussian variational approximation with a factor covariance
        structure".
        G. Roeder, Y. Wu and D. Duvenaud (2017), "Sticking the landing".

    >>> from ember.infer.vi import Counted, FunctionDensity, LowRank, low_rank
    >>> from ember.infer.vi.families.low_rank import LowRankNormal
    >>> import torch
    >>> p = Counted(FunctionDensity(3, lambda u: -0.5 * (u - u.mean(-1, keepdim=True) / 2 - 1).square().sum(-1)))
    >>> start = LowRankNormal.of(torch.zeros(3), torch.ones(3), torch.zeros(3, 1))
    >>> *_, last = low_rank(p, start, LowRank(rank=1, steps=600))
    >>> [round(x, 1) for x in last.normal.loc.tolist()], [round(x, 1) for x in last.normal.variance.tolist()]
    ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0])
    """
    dim, rank = p.dim, min(settings.rank, p.dim)
    points = NormalPoints(dim + rank, seed)
    unit = start.variance.sqrt()
    generator = torch.Generator().manual_seed(seed)
    factor = torch.zeros(dim, rank, dtype=torch.double)
    known = min(rank, start.basis.shape[1])
    factor[:, :known] = _factor(start)[:, :known]
    factor += 0.01 * torch.randn(dim, rank, dtype=torch.double, generator=generator)
    numbers = torch.cat([start.loc / unit, (start.scale / unit).log(), factor.reshape(-1)])
    adam = Adam.of(numbers)
    for i in range(settings.steps):
        drawn = points.draw(settings.batch)
        e, f = drawn[:, :dim], drawn[:, dim:]
        loc, log_scale, flat = torch.split(numbers, [dim, dim, dim * rank])
        factor = flat.view(dim, rank)
        normal = LowRankNormal.of(loc * unit, log_scale.exp() * unit, factor)
        bent = e + f @ factor.mT
        u = normal.loc + normal.scale * bent
        log_p, score = p.score(u)
        possible = torch.isfinite(log_p)
        white = normal.whiten(u)
        # Score of the target minus score of the family, in units of the diagonal scale.
        along = white @ normal.basis
        own = torch.linalg.solve_triangular(normal.core.mT, along.mT, upper=True).mT
        path = score * normal.scale + white + (own - along) @ normal.basis.mT
        path = torch.where(possible.unsqueeze(-1), path, 0.0)
        length = path.norm(dim=-1, keepdim=True)
        limit = 5 * length.median().clamp_min(1e-300)
        path = path * (limit / torch.maximum(length, limit))
        gradient = torch.cat([path.mean(0), (path * bent).mean(0), (path.mT @ f).reshape(-1) / len(f)])
        # A scale of one in each direction: places move in standard deviations.
        step = adam.step(gradient, i + 1, settings.rate_at(i))
        step[:dim] *= log_scale.exp()
        numbers = numbers + step
        log_q = normal.log_prob(u)
        elbo = float((log_p - log_q)[possible].mean()) if bool(possible.any()) else -math.inf
        yield Step(normal, path.mean(0), (path * bent).mean(0), elbo)


def _factor(normal: LowRankNormal) -> Tensor:
    """``W`` of ``1 + W W'``, largest directions first; directions narrower than one are left out."""
    values, vectors = torch.linalg.eigh(normal.core @ normal.core.mT)
    wide = (values.flip(0) - 1).clamp_min(0).sqrt()
    factor: Tensor = normal.basis @ vectors.flip(-1) * wide
    return factor
