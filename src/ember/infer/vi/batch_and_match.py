"""Fit a normal by matching scores: no gradient of any bound, hence no learning rate of a kind to tune.

References:
    D. Cai, C. Modi, L. Pillaud-Vivien, C. Margossian, R. Gower, D. Blei and L. Saul (2024), "Batch and match:
        black-box variational inference with a score-based divergence".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.normal import Normal, triangular
from ember.infer.vi.quasi_random import NormalPoints


@dataclass(frozen=True)
class BatchAndMatch:
    """Holds the settings of :func:`batch_and_match`.

    Attributes:
        batch: rows a step; the paper's ``B``.
        steps: how many steps to take.
        rate: how far a step trusts its batch; divided by the number of the step plus one, as in section 3 of
            the paper. By default ``batch * D``.
    """

    batch: int = 64
    steps: int = 200
    rate: float | None = None


def batch_and_match(p: Counted, start: Normal, settings: BatchAndMatch, seed: int = 0) -> Iterator[Normal]:
    """Fit a normal by matching scores.

    A step minimises the score divergence to a batch of draws, plus a penalty on moving away. There is no
    learning rate to tune.

    Args:
        p: the target, of ``D`` coordinates.
        start: the first normal.
        settings: rows a step, and steps.
        seed: the seed of the draws.

    Yields:
        The normal after each step.

    References:
        D. Cai, C. Modi, L. Pillaud-Vivien, C. Margossian, R. Gower, D. Blei and L. Saul (2024), "Batch and
        match: black-box variational inference with a score-based divergence".

    >>> from ember.infer.vi import BatchAndMatch, Counted, FunctionDensity, batch_and_match
    >>> from ember.infer.vi.families.normal import Normal
    >>> import torch
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * ((u - 3) / 2).square().sum(-1)))
    >>> start = Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double))
    >>> *_, last = batch_and_match(p, start, BatchAndMatch())
    >>> last.loc.round(decimals=2), last.scale_tril.round(decimals=2)
    (tensor([3.], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    points, normal = NormalPoints(p.dim, seed), start
    first = settings.rate if settings.rate is not None else float(settings.batch * p.dim)
    for i in range(settings.steps):
        e = points.draw(settings.batch)
        log_p, score = p.score(normal.unwhiten(e))
        possible = torch.isfinite(log_p)
        if int(possible.sum()) > 1:
            normal = _matched(normal, e[possible], score[possible] @ normal.scale_tril, first / (i + 1))
        yield normal


def _matched(normal: Normal, e: Tensor, score: Tensor, rate: float) -> Normal:
    """The closed form of the paper, in whitened coordinates: there the old normal is the standard one.

    It solves ``S U S + S = V`` for the new covariance ``S``, with ``U`` of the scores and ``V`` of the draws
    (equations 7 to 9).
    """
    dim = normal.dim
    mean, slope = e.mean(0), score.mean(0)
    share = rate / (1 + rate)
    spread = e - mean
    v = torch.eye(dim, dtype=e.dtype) + rate * spread.mT @ spread / len(e) + share * torch.outer(mean, mean)
    turn = score - slope
    u = rate * turn.mT @ turn / len(e) + share * torch.outer(slope, slope)
    cov = _solved(u, v)
    loc = (mean + cov @ slope) * share
    root, info = torch.linalg.cholesky_ex((cov + cov.mT) / 2)
    if int(info) or not bool(torch.isfinite(loc).all()):
        return normal
    return Normal(normal.loc + normal.scale_tril @ loc, triangular(normal.scale_tril @ root))


def _solved(u: Tensor, v: Tensor) -> Tensor:
    """``2 V (1 + (1 + 4 U V)^(1/2))^-1``, symmetrised: with ``V = R R'`` it is ``R f(R' U R) R'``."""
    root = torch.linalg.cholesky(v)
    values, vectors = torch.linalg.eigh(root.mT @ u @ root)
    inner = 2 / (1 + (1 + 4 * values.clamp_min(0)).sqrt())
    turned = root @ vectors
    cov: Tensor = (turned * inner) @ turned.mT
    return cov
