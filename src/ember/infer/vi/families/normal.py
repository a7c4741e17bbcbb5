"""Normals and Student's t with a full or diagonal scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.families.family import Affine
from ember.infer.vi.quasi_random import NormalPoints

_LOG_2PI = math.log(2 * math.pi)


def triangular(root: Tensor) -> Tensor:
    """The lower triangle with positive diagonal that has the same product with its transpose as a square ``root``."""
    upper: Tensor = torch.linalg.qr(root.mT).R
    return (upper * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-1)).mT


@dataclass(frozen=True)
class Normal:
    """A normal density.

    Attributes:
        loc: its mean, shape ``(D,)``.
        scale_tril: lower triangle whose product with its transpose is the covariance, shape ``(D, D)``.

    >>> q = Normal(torch.zeros(2, dtype=torch.double), torch.eye(2, dtype=torch.double))
    >>> u, log_q = q.sample(4, seed=0)
    >>> u.shape, bool(torch.allclose(log_q, q.log_prob(u)))
    (torch.Size([4, 2]), True)
    """

    loc: Tensor
    scale_tril: Tensor

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return len(self.loc)

    @property
    def log_det(self) -> float:
        """Log determinant of the scale."""
        return float(self.scale_tril.diagonal().log().sum())

    def unwhiten(self, e: Tensor) -> Tensor:
        """Rows in units of its standard deviations, to rows of coordinates."""
        return torch.addmm(self.loc, e, self.scale_tril.mT)

    def whiten(self, u: Tensor) -> Tensor:
        """The way back."""
        e: Tensor = torch.linalg.solve_triangular(self.scale_tril, (u - self.loc).mT, upper=False)
        return e.mT

    def pulled(self, score: Tensor) -> Tensor:
        """Scores in coordinates, to scores in whitened ones."""
        return score @ self.scale_tril

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Quasi-random draws and their log densities."""
        e = NormalPoints(self.dim, seed).draw(n)
        return self.unwhiten(e), self._log_prob(e)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities of rows."""
        return self._log_prob(self.whiten(u))

    def _log_prob(self, e: Tensor) -> Tensor:
        return -0.5 * e.square().sum(-1) - self.log_det - 0.5 * self.dim * _LOG_2PI


@dataclass(frozen=True)
class StudentT:
    """Student's t in ``D`` dims: heavier tails around the same place.

    Attributes:
        base: gives place and scale.
        df: degrees of freedom, a whole number.
    """

    base: Affine
    df: int

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return self.base.dim

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Quasi-random draws and their log densities; chi-square numbers are sums of squares of normal ones."""
        points = NormalPoints(self.dim + self.df, seed).draw(n)
        chi_square = points[:, self.dim :].square().sum(-1, keepdim=True)
        e = points[:, : self.dim] * (self.df / chi_square).sqrt()
        return self.base.unwhiten(e), self._log_prob(e.square().sum(-1))

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities of rows."""
        return self._log_prob(self.squares(u))

    def squares(self, u: Tensor) -> Tensor:
        """Squared whitened distances ``(S,)`` from its place."""
        return self.base.whiten(u).square().sum(-1)

    def _log_prob(self, squares: Tensor) -> Tensor:
        df, dim = self.df, self.dim
        norm = (
            math.lgamma((df + dim) / 2)
            - math.lgamma(df / 2)
            - dim / 2 * math.log(df * math.pi)
            - self.base.log_det
        )
        return norm - (df + dim) / 2 * torch.log1p(squares / df)
