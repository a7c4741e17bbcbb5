"""Normals whose scale is a diagonal plus few directions: for many dims.

References:
    V. Ong, D. Nott and M. Smith (2018), "Gaussian variational approximation with a factor covariance structure".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.families.normal import Normal, triangular
from ember.infer.vi.quasi_random import NormalPoints

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class LowRankNormal:
    """A normal with covariance ``S (1 + Q (C C' - 1) Q') S``: ``S`` diagonal, ``Q`` orthonormal, ``C`` small.

    Attributes:
        loc: its mean, shape ``(D,)``.
        scale: the diagonal of ``S``, shape ``(D,)``.
        basis: ``Q``, shape ``(D, r)``.
        core: ``C``, lower triangular, shape ``(r, r)``.

    >>> q = LowRankNormal.of(torch.zeros(3), torch.ones(3), torch.ones(3, 1))
    >>> q.variance.round(decimals=6)
    tensor([2., 2., 2.], dtype=torch.float64)
    """

    loc: Tensor
    scale: Tensor
    basis: Tensor
    core: Tensor

    @staticmethod
    def of(loc: Tensor, scale: Tensor, factor: Tensor) -> LowRankNormal:
        """With covariance ``S (1 + W W') S``, for a factor ``W`` of shape ``(D, r)``."""
        basis, upper = torch.linalg.qr(factor.double())
        inner = torch.eye(len(upper), dtype=torch.double) + upper @ upper.mT
        return LowRankNormal(loc.double(), scale.double(), basis, torch.linalg.cholesky(inner))

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return len(self.loc)

    def dense(self) -> Normal:
        """The same with a triangle for its scale."""
        root = self.unwhiten(torch.eye(self.dim, dtype=torch.double)) - self.loc
        return Normal(self.loc, triangular(root.mT))

    @property
    def variance(self) -> Tensor:
        """Of single coordinates, shape ``(D,)``."""
        wide = self.basis @ self.core
        return self.scale.square() * (1 + wide.square().sum(-1) - self.basis.square().sum(-1))

    @property
    def log_det(self) -> float:
        """Log determinant of the scale."""
        return float(self.scale.log().sum() + self.core.diagonal().log().sum())

    def unwhiten(self, e: Tensor) -> Tensor:
        """Rows of standard normal numbers, to rows of coordinates."""
        along = e @ self.basis
        return self.loc + self.scale * (e + (along @ self.core.mT - along) @ self.basis.mT)

    def whiten(self, u: Tensor) -> Tensor:
        """The way back."""
        x = (u - self.loc) / self.scale
        along = x @ self.basis
        inner: Tensor = torch.linalg.solve_triangular(self.core, along.mT, upper=False).mT
        return x + (inner - along) @ self.basis.mT

    def pulled(self, score: Tensor) -> Tensor:
        """Scores in coordinates, to scores in whitened ones."""
        scaled = score * self.scale
        along = scaled @ self.basis
        return scaled + (along @ self.core - along) @ self.basis.mT

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Quasi-random draws and their log densities."""
        e = NormalPoints(self.dim, seed).draw(n)
        return self.unwhiten(e), self._log_prob(e)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities of rows."""
        return self._log_prob(self.whiten(u))

    def _log_prob(self, e: Tensor) -> Tensor:
        return -0.5 * e.square().sum(-1) - self.log_det - 0.5 * self.dim * _LOG_2PI
