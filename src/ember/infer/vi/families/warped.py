"""Normals bent by an invertible transform of their whitened coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from ember.infer.vi.families.normal import Normal
from ember.infer.vi.quasi_random import NormalPoints

_LOG_2PI = math.log(2 * math.pi)


class Bent(Protocol):
    """Rows that went through a transform, and all that its derivatives need."""

    @property
    def x(self) -> Tensor:
        """Rows after it, shape ``(S, D)``."""

    @property
    def log_det(self) -> Tensor:
        """Log determinants of its derivatives, shape ``(S,)``."""

    def score(self) -> Tensor:
        """Score, at the rows after the map, of the density of bent standard normal numbers: shape ``(S, D)``."""

    def pullback(self, path: Tensor) -> Tensor:
        """Gradient ``(P,)``, in the numbers of the map, of the sum of ``path`` times the rows after it."""

    def pulled(self, path: Tensor) -> Tensor:
        """The same gradient in the rows before the map, shape ``(S, D)``."""


class Transform(Protocol):
    """An invertible map of rows, with numbers to train. A value: training makes new ones."""

    @property
    def parameters(self) -> Tensor:
        """All numbers, shape ``(P,)``."""

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same with other numbers."""

    def forward(self, e: Tensor) -> Bent:
        """Rows ``(S, D)``, bent."""

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows before the map, and the log determinants of the map there."""


@dataclass(frozen=True)
class Warped:
    """A density: standard normal numbers, bent, then scaled and shifted as by a normal.

    Attributes:
        transform: bends.
        around: scale and place.

    >>> from ember.infer.vi.families.skewed import SinhArcsinh
    >>> unit = Normal(torch.zeros(2, dtype=torch.double), torch.eye(2, dtype=torch.double))
    >>> q = Warped(SinhArcsinh.identity(2), unit)
    >>> u, log_q = q.sample(4, seed=0)
    >>> bool(torch.allclose(log_q, unit.log_prob(u)))
    True
    """

    transform: Transform
    around: Normal

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return self.around.dim

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Quasi-random draws and their log densities."""
        e = NormalPoints(self.dim, seed).draw(n)
        bent = self.transform.forward(e)
        return self.around.unwhiten(bent.x), self._log_prob(e, bent.log_det)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities of rows."""
        return self._log_prob(*self.transform.inverse(self.around.whiten(u)))

    def _log_prob(self, e: Tensor, log_det: Tensor) -> Tensor:
        log_q = -0.5 * e.square().sum(-1) - 0.5 * self.dim * _LOG_2PI - log_det - self.around.log_det
        return torch.where(torch.isfinite(log_q), log_q, -1e300)  # so far out that the numbers overflow
