"""Where the mass is: Newton's method from several starts, and the best normal along the way.

A batch of starts goes uphill by saddle-free Newton steps. At every place visited Laplace's normal is a
candidate, judged by its evidence lower bound: on funnels and skewed densities the best one lies on the way to
a mode, not at it.

References:
    Y. Dauphin et al. (2014), "Identifying and attacking the saddle point problem".
    K. Levenberg (1944), "A method for the solution of certain non-linear problems in least squares".
    L. Zhang, B. Carpenter, A. Gelman and A. Vehtari (2022), "Pathfinder", for the choice by ELBO along the
    path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.normal import Normal, triangular
from ember.infer.vi.laplace import Curvature, elbos, hessians
from ember.infer.vi.quasi_random import NormalPoints

_FIRST_STEP = 1e-4


@dataclass(frozen=True)
class Newton:
    """Holds the settings of :func:`newton` and :func:`starting_points`.

    Attributes:
        starts: how many starting points there are; the first is zero.
        radius: half the width of the cube in which the others are uniform.
        iterations: the most steps.
        tolerance: a start has arrived when a full step changes its log density by less.
        points: how many normal points each ELBO is computed from.
        same: starts closer than this, in standard deviations of Laplace's normal, go on as one.
    """

    starts: int = 8
    radius: float = 2.0
    iterations: int = 60
    tolerance: float = 1e-8
    points: int = 32
    same: float = 0.05


@dataclass(frozen=True)
class Candidate:
    """A normal found on the way: ``elbo``, of the start with number ``start``."""

    elbo: float
    normal: Normal
    start: int


@dataclass(frozen=True)
class Located:
    """What is known after some steps.

    Attributes:
        best: the candidate of the highest ELBO of each start, best first; starts that met are one.
        iterations: steps taken.
        arrived: whether each start still followed has come to a mode.
    """

    best: tuple[Candidate, ...]
    iterations: int
    arrived: bool


@dataclass(frozen=True)
class _Climb:
    """The starts that still move: ``k`` of them, by number."""

    numbers: Tensor
    u: Tensor
    log_p: Tensor
    score: Tensor
    damping: Tensor
    step: Tensor
    arrived: Tensor

    def kept(self, which: Tensor) -> _Climb:
        return _Climb(
            self.numbers[which], self.u[which], self.log_p[which], self.score[which], self.damping[which], self.step[which],
            self.arrived[which],
        )  # fmt: skip


def starting_points(dim: int, settings: Newton, seed: int) -> Tensor:
    """Draw starting points: zero, and uniform numbers around it.

    Args:
        dim: the number ``D`` of coordinates.
        settings: how many, and how far from zero.
        seed: the seed of the numbers.

    Returns:
        Shape ``(starts, D)``, double precision.

    >>> from ember.infer.vi import Newton, starting_points
    >>> starting_points(3, Newton(starts=2), seed=0).shape
    torch.Size([2, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    u = (torch.rand(settings.starts, dim, dtype=torch.double, generator=generator) * 2 - 1) * settings.radius
    u[0] = 0
    return u


def newton(p: Counted, starts: Tensor, settings: Newton = Newton(), seed: int = 0) -> Iterator[Located]:
    """Go uphill from several starts by damped Newton steps, and keep the best normal of each on the way.

    At each place Laplace's normal is judged by its ELBO: on skewed densities the best one lies on the way to
    a mode, not at it. A caller may stop at any time.

    Args:
        p: the target, of ``D`` coordinates.
        starts: where to begin, ``(K, D)``.
        settings: steps and tolerance.
        seed: the seed of the points of the ELBO.

    Yields:
        What is known after each step: ``best``, the best normals, ``iterations``, and whether all have
            ``arrived``.

    Raises:
        ValueError: if the log density is minus infinity at all starts.

    References:
        Y. Dauphin and others (2014), "Identifying and attacking the saddle point problem".
        K. Levenberg (1944), "A method for the solution of certain non-linear problems in least squares".

    >>> from ember.infer.vi import Counted, FunctionDensity, newton
    >>> import torch
    >>> p = Counted(FunctionDensity(2, lambda u: -0.5 * (u - 3).square().sum(-1)))
    >>> *_, located = newton(p, torch.zeros(1, 2, dtype=torch.double))
    >>> [round(x, 6) for x in located.best[0].normal.loc.tolist()]
    [3.0, 3.0]
    """
    log_p, score = p.score(starts)
    possible = torch.isfinite(log_p)
    if not bool(possible.any()):
        raise ValueError(
            f"The log density is minus infinity or no number at all {len(starts)} starting points\n"
            "The way out: look for infinite data and for data that the model rules out, and write hard limits as supports "
            "of sites instead of factors."
        )
    ones = torch.ones(len(starts), dtype=torch.double)
    numbers = torch.arange(len(starts))
    climb = _Climb(
        numbers, starts, log_p, score, 0 * ones, torch.full_like(starts, _FIRST_STEP), ones < 0
    ).kept(possible)
    e = NormalPoints(p.dim, seed).draw(settings.points)
    best: dict[int, Candidate] = {}
    met: set[int] = set()
    for iteration in range(1, settings.iterations + 1):
        curvature = Curvature.of(hessians(p, climb.u, climb.step))
        _remember(best, p, climb, curvature, e)
        climb = _moved(p, climb, curvature, settings)
        apart = _apart(climb, curvature, settings.same)
        met.update(climb.numbers[~apart].tolist())
        going = ~climb.arrived & apart
        yield Located(_ranked(best, met), iteration, not bool(going.any()))
        if not bool(going.any()):
            return
        climb = climb.kept(going)


def _ranked(best: dict[int, Candidate], met: set[int]) -> tuple[Candidate, ...]:
    """Best first; of a start that met another one only what is better than all of the others."""
    own = [candidate for number, candidate in best.items() if number not in met]
    highest = max(candidate.elbo for candidate in own)
    own += [best[number] for number in met if best[number].elbo > highest]
    return tuple(sorted(own, key=lambda candidate: -candidate.elbo))


def _remember(best: dict[int, Candidate], p: Counted, climb: _Climb, curvature: Curvature, e: Tensor) -> None:
    roots = curvature.roots()
    found = elbos(p, climb.u, roots, curvature.log_dets(), e).tolist()
    for i, (number, elbo) in enumerate(zip(climb.numbers.tolist(), found, strict=True)):
        if number not in best or elbo > best[number].elbo:
            best[number] = Candidate(elbo, Normal(climb.u[i], triangular(roots[i])), number)


def _moved(p: Counted, climb: _Climb, curvature: Curvature, settings: Newton) -> _Climb:
    """A step of each start, damped more until at least one is accepted."""
    along, size = curvature.along(climb.score), curvature.sizes
    largest = size.amax(-1)
    # At a saddle, zero by symmetry for example, a gradient says nothing: leave along the directions that curve up.
    saddle = (curvature.values < -1e-6 * largest.unsqueeze(-1)) & (along.abs() < 1e-6 * size.sqrt())
    along = torch.where(saddle, 0.1 * size.sqrt(), along)
    damping = climb.damping
    for _ in range(6):
        full = damping < 1e-6 * largest
        u = climb.u + curvature.back(along / (size + damping.unsqueeze(-1)))
        log_p, score = p.score(u)
        better = log_p > climb.log_p - 1e-9
        if bool(better.any()):
            break
        damping = torch.maximum(damping * 8, 1e-3 * largest)
    taken = better.unsqueeze(-1)
    flat = (log_p - climb.log_p).abs() < settings.tolerance
    # A step that fails at the limit of rounding has arrived too: damping more cannot find anything better.
    stuck = ~better & (damping > 1e6 * largest)
    # Differences over a thousandth of a standard deviation, whatever the unit; a first guess may be far too wide for one.
    wanted = 1e-3 * torch.minimum(curvature.roots().square().sum(-1).sqrt(), 10 * curvature.unit)
    step = torch.minimum(torch.maximum(wanted, 1e-3 * climb.step), 1e3 * climb.step)
    known = (step == wanted).all(-1)
    return replace(
        climb,
        u=torch.where(taken, u, climb.u),
        log_p=torch.where(better, log_p, climb.log_p),
        score=torch.where(taken, score, climb.score),
        damping=torch.where(better, damping / 8, torch.maximum(damping * 8, 1e-3 * largest)),
        step=step,
        arrived=(better & flat & full & known) | stuck,
    )


def _apart(climb: _Climb, curvature: Curvature, least: float) -> Tensor:
    """False for a start that is at a mode, as near as matters, where one of a lower number is."""
    if len(climb.u) == 1:
        return torch.ones(1, dtype=torch.bool)
    along, size = curvature.along(climb.score), curvature.sizes
    gaps = (
        ((climb.u.unsqueeze(1) - climb.u) / curvature.unit.unsqueeze(-2))
        @ curvature.vectors
        * size.sqrt().unsqueeze(-2)
    )
    # Where a density is flat everything is near in standard deviations: a mode must be near too.
    near_mode = (along.square() / size).sum(-1).sqrt() < least
    met = (gaps.norm(dim=-1) < least) & near_mode & near_mode.unsqueeze(-1)
    return ~torch.triu(met, 1).any(0)
