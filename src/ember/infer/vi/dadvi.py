"""Deterministic ADVI: fixed draws make the bound a function to be minimised exactly, and its sensitivity gives covariances.

A mean-field normal has scales that are too small where coordinates are correlated. Linear response corrects
them: the covariance of the coordinates is how the optimal means answer to a tilt of the log density.

References:
    R. Giordano, M. Ingram and T. Broderick (2024), "Black box variational inference with a deterministic
    objective".
    R. Giordano, T. Broderick and M. Jordan (2018), "Covariances, robustness, and variational Bayes".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.lbfgs import Lbfgs, lbfgs
from ember.infer.vi.quasi_random import NormalPoints


@dataclass(frozen=True)
class Dadvi:
    """Holds the settings of :func:`dadvi`.

    Attributes:
        draws: how many fixed normal points there are; their opposites are used, too.
        iterations: the most steps of the minimisation.
        response: whether to compute the covariance by linear response: ``2 D`` gradients of the bound.
    """

    draws: int = 32
    iterations: int = 400
    response: bool = True


@dataclass(frozen=True)
class MeanField:
    """The optimum.

    Attributes:
        loc: means, shape ``(D,)``.
        scale: standard deviations of the mean-field normal, shape ``(D,)``.
        cov: covariance by linear response, shape ``(D, D)``; None if not asked for.
        elbo: of the fixed draws.
        arrived: whether the minimisation came to its end.
    """

    loc: Tensor
    scale: Tensor
    cov: Tensor | None
    elbo: float
    arrived: bool


@dataclass(frozen=True)
class _Bound:
    """The bound of fixed draws as a log density of means and log scales."""

    p: Counted
    e: Tensor

    @property
    def dim(self) -> int:
        return 2 * self.p.dim

    @overload
    def __call__(self, u: Tensor, grad: Literal[True] = True) -> tuple[Tensor, Tensor]: ...

    @overload
    def __call__(self, u: Tensor, grad: Literal[False]) -> Tensor: ...

    def __call__(self, u: Tensor, grad: bool = True) -> Tensor | tuple[Tensor, Tensor]:
        rows, dim = len(u), self.p.dim
        loc, log_scale = u[:, :dim], u[:, dim:]
        moved = log_scale.exp().unsqueeze(1) * self.e
        log_p, score = self.p.score((loc.unsqueeze(1) + moved).reshape(-1, dim))
        elbo = log_p.reshape(rows, -1).mean(-1) + log_scale.sum(-1)
        score = score.reshape(rows, len(self.e), dim)
        return (elbo, torch.cat([score.mean(1), (score * moved).mean(1) + 1], -1)) if grad else elbo


def dadvi(p: Counted, start: Tensor, settings: Dadvi, seed: int = 0) -> MeanField:
    """Fit a mean-field normal by fixed draws (DADVI), with a covariance by linear response.

    Fixed draws make the bound a function that is minimised exactly. Scales of a mean-field normal are too
    small where coordinates are correlated. Linear response corrects them: the covariance is how the optimal
    means answer to a tilt of the log density.

    Args:
        p: the target, of ``D`` coordinates.
        start: the first means, ``(D,)``; the first standard deviations are one.
        settings: draws and iterations.
        seed: the seed of the draws.

    Returns:
        A record with ``loc`` and ``scale``, ``(D,)`` each, ``cov``, ``(D, D)`` or None, ``elbo`` in nats, and
            ``arrived``.

    Raises:
        ValueError: if a draw around the start is impossible.

    References:
        R. Giordano, M. Ingram and T. Broderick (2024), "Black box variational inference with a deterministic
        objective".
        R. Giordano, T. Broderick and M. Jordan (2018), "Covariances, robustness, and variational Bayes".

    >>> from ember.infer.vi import Counted, Dadvi, FunctionDensity, dadvi
    >>> import torch
    >>> precision = torch.tensor([[1.0, -0.8], [-0.8, 1.0]], dtype=torch.double)
    >>> p = Counted(FunctionDensity(2, lambda u: -0.5 * (u @ precision * u).sum(-1)))
    >>> found = dadvi(p, torch.ones(2, dtype=torch.double), Dadvi())
    >>> float(found.scale.max()) < 1.1, [round(x, 1) for x in found.cov.diagonal().sqrt().tolist()]
    (True, [1.7, 1.7])
    """
    half = NormalPoints(p.dim, seed).draw(settings.draws)
    bound = _Bound(p, torch.cat([half, -half]))
    first = torch.cat([start, torch.zeros_like(start)]).unsqueeze(0)
    if not math.isfinite(float(bound(first, grad=False))):
        raise ValueError(
            "A fixed draw around the start is impossible: start where the density is positive a unit around"
        )
    *_, last = lbfgs(Counted(bound), first, Lbfgs(iterations=settings.iterations))
    found, dim = last.u[0], p.dim
    cov = _response(bound, found)[:dim, :dim] if settings.response else None
    return MeanField(found[:dim], found[dim:].exp(), cov, float(last.log_p), bool(last.arrived.all()))


def _response(bound: _Bound, u: Tensor) -> Tensor:
    """The inverse of minus the second derivatives of the bound."""
    step = 1e-4
    moves = step * torch.eye(len(u), dtype=u.dtype)
    # Means move in units of their scale.
    dim = len(u) // 2
    size = torch.cat([u[dim:].exp(), torch.ones(dim, dtype=u.dtype)])
    moves = moves * size
    _, scores = bound(torch.cat([u + moves, u - moves]))
    second = (scores[: 2 * dim] - scores[2 * dim :]) / (2 * step) * size
    values, vectors = torch.linalg.eigh(-(second + second.mT) / 2)
    inverse = (vectors / values.clamp_min(1e-12)) @ vectors.mT
    cov: Tensor = inverse * size * size.unsqueeze(-1)
    return cov
