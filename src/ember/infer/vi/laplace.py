"""Second derivatives by differences of scores, and the normals that they give.

References:
    P. S. Laplace (1774); L. Tierney and J. Kadane (1986), "Accurate approximations for posterior moments".
    Y. Dauphin et al. (2014), "Identifying and attacking the saddle point problem", for absolute eigenvalues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.normal import Normal, triangular

_FLATTEST = 1e-6  # a direction without curvature gets a standard deviation of 1,000 units at most


def hessians(p: Counted, u: Tensor, step: Tensor) -> Tensor:
    """Second derivatives of a log density at rows, by central differences of scores: ``2 D`` rows each.

    Args:
        p: the density.
        u: shape ``(K, D)``.
        step: how far to go along each coordinate, shape ``(K, D)``.

    Returns:
        Shape ``(K, D, D)``, symmetric; zero where a difference touched an impossible row.

    >>> from ember.infer.vi import FunctionDensity
    >>> p = Counted(FunctionDensity(1, lambda u: -u.pow(4).sum(-1)))
    >>> hessians(p, torch.ones(1, 1, dtype=torch.double), torch.full((1, 1), 1e-4, dtype=torch.double)).round(decimals=3)
    tensor([[[-12.]]], dtype=torch.float64)
    """
    rows, dim = u.shape
    moves = torch.diag_embed(step)
    places = torch.cat([u.unsqueeze(1) + moves, u.unsqueeze(1) - moves], 1)
    scores = p.score(places.reshape(-1, dim))[1].reshape(rows, 2, dim, dim)
    second = (scores[:, 0] - scores[:, 1]) / (2 * step).unsqueeze(-1)
    return torch.nan_to_num((second + second.mT) / 2, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Curvature:
    """Eigenvectors and eigenvalues of minus the second derivatives at rows, in units that make their diagonals one.

    Units are taken out first: eigenvalues of coordinates that differ by many powers of ten would drown in
    rounding.

    Attributes:
        unit: one over the root of each diagonal element, shape ``(K, D)``.
        values: eigenvalues, shape ``(K, D)``, of either sign.
        vectors: shape ``(K, D, D)``, in columns.
    """

    unit: Tensor
    values: Tensor
    vectors: Tensor

    @staticmethod
    def of(second: Tensor) -> Curvature:
        """From second derivatives ``(K, D, D)``."""
        diagonal = second.diagonal(dim1=-2, dim2=-1).abs()
        unit = torch.where(diagonal > 1e-30, diagonal, 1.0).rsqrt()
        return Curvature(unit, *torch.linalg.eigh(-second * unit.unsqueeze(-1) * unit.unsqueeze(-2)))

    @property
    def sizes(self) -> Tensor:
        """Absolute eigenvalues, bounded from below."""
        return self.values.abs().clamp_min(_FLATTEST)

    def along(self, score: Tensor) -> Tensor:
        """Scores ``(K, D)`` along the eigenvectors."""
        return ((score * self.unit).unsqueeze(-2) @ self.vectors).squeeze(-2)

    def back(self, step: Tensor) -> Tensor:
        """Steps ``(K, D)`` along the eigenvectors, in coordinates."""
        return (self.vectors @ step.unsqueeze(-1)).squeeze(-1) * self.unit

    def roots(self) -> Tensor:
        """Square roots ``(K, D, D)`` of the covariances of Laplace's normals."""
        return self.unit.unsqueeze(-1) * self.vectors * self.sizes.rsqrt().unsqueeze(-2)

    def log_dets(self) -> Tensor:
        """Log determinants ``(K,)`` of these roots."""
        return self.unit.log().sum(-1) - 0.5 * self.sizes.log().sum(-1)


def laplace(p: Counted, mode: Tensor, step: float = 1e-4) -> Normal:
    """Make Laplace's normal at a mode: its precision is minus the second derivatives there.

    Second derivatives are differences of scores; eigenvalues count by their absolute values. The place need
    not be the mode exactly.

    Args:
        p: the target, of ``D`` coordinates.
        mode: the place, ``(D,)``.
        step: how far differences go along each coordinate.

    References:
        P. S. Laplace (1774); L. Tierney and J. Kadane (1986), "Accurate approximations for posterior
        moments".

    >>> from ember.infer.vi import Counted, FunctionDensity, laplace
    >>> import torch
    >>> p = Counted(FunctionDensity(1, lambda u: -2 * u.square().sum(-1)))
    >>> laplace(p, torch.zeros(1, dtype=torch.double)).scale_tril.round(decimals=4)
    tensor([[0.5000]], dtype=torch.float64)
    """
    curvature = Curvature.of(hessians(p, mode.unsqueeze(0), torch.full_like(mode, step).unsqueeze(0)))
    return Normal(mode, triangular(curvature.roots()[0]))


def elbos(p: Counted, u: Tensor, roots: Tensor, log_dets: Tensor, e: Tensor) -> Tensor:
    """Evidence lower bounds of normals, one a row, with the same points for all.

    Args:
        p: the density.
        u: their means, shape ``(K, D)``.
        roots: square roots of their covariances, shape ``(K, D, D)``.
        log_dets: of these, shape ``(K,)``.
        e: standard normal points, shape ``(n, D)``.

    Returns:
        Shape ``(K,)``; an impossible row counts as a log density of -1e12.
    """
    rows, dim = u.shape
    places = u.unsqueeze(1) + e @ roots.mT
    log_p = p.value(places.reshape(-1, dim)).reshape(rows, len(e))
    return log_p.clamp_min(-1e12).mean(-1) + log_dets + 0.5 * dim * (1 + math.log(2 * math.pi))
