"""Skewness and tails of single coordinates.

References:
    M. C. Jones and A. Pewsey (2009), "Sinh-arcsinh distributions".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LOG_2 = math.log(2)


@dataclass(frozen=True)
class BentEach:
    """Rows whose coordinates were bent one by one: ``e`` before, ``bent`` the argument of sinh, ``x`` after."""

    by: SinhArcsinh
    e: Tensor
    bent: Tensor
    x: Tensor
    log_det: Tensor

    def score(self) -> Tensor:
        """Score of the bent density at its rows."""
        _, _, _, tail = self.by.each()
        ones = 1 + self.e.square()
        curve = torch.tanh(self.bent) * torch.exp(-tail) / ones.sqrt() - self.e / ones
        return -(self.e + curve) / self._slope()

    def pulled(self, path: Tensor) -> Tensor:
        """Gradient in the rows before the map."""
        return path * self._slope()

    def _slope(self) -> Tensor:
        """Of each coordinate of ``x`` in that of ``e``."""
        _, log_scale, _, tail = self.by.each()
        return torch.cosh(self.bent) * torch.exp(log_scale - tail) / (1 + self.e.square()).sqrt()

    def pullback(self, path: Tensor) -> Tensor:
        """Gradient in the numbers of the map."""
        loc, log_scale, _, tail = self.by.each()
        along = path * torch.cosh(self.bent) * log_scale.exp()
        return torch.cat(
            [
                path.sum(0),
                (path * (self.x - loc)).sum(0),
                along.sum(0) * torch.exp(-tail),
                -(along * self.bent).sum(0),
            ]
        )


@dataclass(frozen=True)
class SinhArcsinh:
    """``x = loc + scale sinh((arcsinh(e) + skew) exp(-tail))``, coordinate by coordinate.

    Attributes:
        parameters: place, log scale, skewness and tail, shape ``(4 D,)``.

    >>> bend = SinhArcsinh.identity(2)
    >>> bool(torch.allclose(bend.forward(torch.ones(1, 2, dtype=torch.double)).x, torch.ones(1, 2, dtype=torch.double)))
    True
    """

    parameters: Tensor

    @staticmethod
    def identity(dim: int) -> SinhArcsinh:
        """It changes nothing."""
        return SinhArcsinh(torch.zeros(4 * dim, dtype=torch.double))

    def with_parameters(self, parameters: Tensor) -> SinhArcsinh:
        """The same with other numbers."""
        return SinhArcsinh(parameters)

    def forward(self, e: Tensor) -> BentEach:
        """Rows, bent."""
        loc, log_scale, skew, tail = self.each()
        bent = (torch.asinh(e) + skew) * torch.exp(-tail)
        return BentEach(
            self, e, bent, torch.addcmul(loc, log_scale.exp(), torch.sinh(bent)), self._log_det(e, bent)
        )

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The way back, and the log determinants of the way there."""
        loc, log_scale, skew, tail = self.each()
        bent = torch.asinh((x - loc) * torch.exp(-log_scale))
        e = torch.sinh(bent * tail.exp() - skew)
        return e, self._log_det(e, bent)

    def each(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Place, log scale, skewness and tail."""
        loc, log_scale, skew, tail = self.parameters.reshape(4, -1)
        return loc, log_scale, skew, tail

    def _log_det(self, e: Tensor, bent: Tensor) -> Tensor:
        _, log_scale, _, tail = self.each()
        size = bent.abs()
        log_cosh = size + torch.log1p(torch.exp(-2 * size)) - _LOG_2
        return (log_cosh - 0.5 * torch.log1p(e.square())).sum(-1) + (log_scale - tail).sum()
