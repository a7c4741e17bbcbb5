"""Normal numbers that fill space evenly.

References:
    A. Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".
    A. Buchholz, F. Wenzel and S. Mandt (2018), "Quasi-Monte Carlo variational inference".
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_DIMS = torch.quasirandom.SobolEngine.MAXDIM
_HALF_A_CELL = 2.0**-31  # the engine gives multiples of 2^-30, zero among them


class NormalPoints:
    """Draws standard normal numbers from one scrambled Sobol sequence, a block after the other.

    Blocks of a power of two are balanced each, and together. Above 21,201 dims they are ordinary
    pseudo-random numbers.

    Args:
        dim: how many coordinates a point has.
        seed: the seed of the scrambling.

    References:
        A. Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".

    >>> from ember.infer.vi import NormalPoints
    >>> points = NormalPoints(3, seed=0).draw(1024)
    >>> points.shape, bool(points.mean(0).abs().max() < 0.01)
    (torch.Size([1024, 3]), True)
    """

    def __init__(self, dim: int, seed: int) -> None:
        self.dim = dim
        self._engine = _engine(dim, seed) if dim <= MOST_DIMS else None
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, n: int) -> Tensor:
        """Draw the next ``n`` points, shape ``(n, dim)``, double precision."""
        if self._engine is None:
            return torch.randn(n, self.dim, dtype=torch.double, generator=self._generator)
        normal: Tensor = torch.special.ndtri(self._engine.draw(n, dtype=torch.double).add_(_HALF_A_CELL))
        return normal


def _engine(dim: int, seed: int) -> torch.quasirandom.SobolEngine:
    return torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
