"""What a family of densities can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Family(Protocol):
    """A density to draw from and to evaluate: a value, never changed by a fit."""

    @property
    def dim(self) -> int:
        """How many coordinates."""

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """``n`` draws ``(n, D)`` and their log densities ``(n,)``; the same for the same seed."""

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities ``(S,)`` of rows ``(S, D)``."""


class Affine(Family, Protocol):
    """A normal of any kind of scale: standard normal numbers, scaled and shifted."""

    @property
    def loc(self) -> Tensor:
        """Its mean, shape ``(D,)``."""

    @property
    def log_det(self) -> float:
        """Log determinant of the scale."""

    def unwhiten(self, e: Tensor) -> Tensor:
        """Rows in units of its standard deviations, to rows of coordinates."""

    def whiten(self, u: Tensor) -> Tensor:
        """The way back."""

    def pulled(self, score: Tensor) -> Tensor:
        """Scores in coordinates, to scores in whitened ones."""
