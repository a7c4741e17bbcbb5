"""Pathfinder: normals along quasi-Newton paths, the one of the highest evidence lower bound wins.

References:
    L. Zhang, B. Carpenter, A. Gelman and A. Vehtari (2022), "Pathfinder: parallel quasi-Newton variational
    inference".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.low_rank import LowRankNormal
from ember.infer.vi.lbfgs import Ascent, Lbfgs, lbfgs
from ember.infer.vi.quasi_random import NormalPoints

DEFAULTS = Lbfgs()


@dataclass(frozen=True)
class Path:
    """The best normal so far on the path of a start."""

    elbo: float
    normal: LowRankNormal
    start: int


def pathfinder(
    p: Counted, starts: Tensor, settings: Lbfgs = DEFAULTS, points: int = 32, seed: int = 0
) -> Iterator[tuple[Path, ...]]:
    """Find normals along quasi-Newton paths; the one of the highest ELBO wins.

    Args:
        p: the target, of ``D`` coordinates.
        starts: where to begin, ``(K, D)``.
        settings: the steps of :func:`lbfgs`.
        points: how many normal points each ELBO is computed from.
        seed: the seed of these.

    Yields:
        After each step the best normal of each start, with its ``elbo`` in nats; the best first.

    Raises:
        ValueError: if the log density is minus infinity at all starts.

    References:
        L. Zhang, B. Carpenter, A. Gelman and A. Vehtari (2022), "Pathfinder: parallel quasi-Newton
        variational inference".

    >>> from ember.infer.vi import Counted, FunctionDensity, pathfinder
    >>> import torch
    >>> p = Counted(FunctionDensity(2, lambda u: -0.5 * ((u - 1) / 3).square().sum(-1)))
    >>> *_, paths = pathfinder(p, torch.zeros(1, 2, dtype=torch.double))
    >>> [round(x, 2) for x in paths[0].normal.loc.tolist()], [round(x, 1) for x in paths[0].normal.variance.tolist()]
    ([1.0, 1.0], [9.0, 9.0])
    """
    e = NormalPoints(p.dim, seed).draw(points)
    best: dict[int, Path] = {}
    stopped = torch.zeros(len(starts), dtype=torch.bool)
    for ascent in lbfgs(p, starts, settings):
        if bool((~torch.isfinite(ascent.log_p)).all()):
            raise ValueError(
                f"The log density is minus infinity or no number at all {len(starts)} starting points\n"
                "The way out: look for infinite data and for data that the model rules out, and write hard limits as supports "
                "of sites instead of factors."
            )
        for k in (~stopped & torch.isfinite(ascent.log_p)).nonzero().squeeze(-1).tolist():
            normal = inverse_hessian_normal(ascent, k)
            if normal is not None:
                elbo = _elbo(p, normal, e)
                if k not in best or elbo > best[k].elbo:
                    best[k] = Path(elbo, normal, k)
        stopped = ascent.arrived
        yield tuple(sorted(best.values(), key=lambda path: -path.elbo))


def inverse_hessian_normal(ascent: Ascent, start: int) -> LowRankNormal | None:
    """The normal around the place of a start whose covariance is its inverse Hessian; None if that is no covariance.

    In coordinates scaled by the diagonal guess, ``H = 1 + B G B'`` with ``B = [Y, S]`` (Byrd et al., 1994,
    theorem 2.2).
    """
    pairs = ascent.pairs
    used = (pairs.steps[:, start] != 0).any(-1)
    scale = pairs.scale[start].sqrt()
    steps, turns = (pairs.steps[used, start] / scale).mT, (pairs.turns[used, start] * scale).mT
    if not steps.shape[1]:
        return LowRankNormal.of(ascent.u[start], scale, scale.new_zeros(len(scale), 1))
    basis, upper = torch.linalg.qr(torch.cat([turns, steps], -1))
    middle = _middle(steps, turns)
    inner = upper @ middle @ upper.mT
    core, info = torch.linalg.cholesky_ex(torch.eye(len(inner), dtype=inner.dtype) + (inner + inner.mT) / 2)
    return None if int(info) else LowRankNormal(ascent.u[start], scale, basis, core)


def _middle(steps: Tensor, turns: Tensor) -> Tensor:
    """``G`` of the compact form, for ``B = [Y, S]``."""
    products = steps.mT @ turns
    r = products.triu()
    inverse = torch.linalg.inv(r)
    corner = inverse.mT @ (torch.diag(products.diagonal()) + turns.mT @ turns) @ inverse
    return torch.cat([torch.cat([torch.zeros_like(r), -inverse], -1), torch.cat([-inverse.mT, corner], -1)])


def _elbo(p: Counted, normal: LowRankNormal, e: Tensor) -> float:
    log_p = p.value(normal.unwhiten(e)).clamp_min(-1e12).mean()
    return float(log_p) + normal.log_det + 0.5 * p.dim * (1 + math.log(2 * math.pi))
