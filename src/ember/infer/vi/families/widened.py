"""A normal at all scales from its own to a thousand times that: draws far out and everywhere on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.families.family import Affine
from ember.infer.vi.quasi_random import NormalPoints

_SCALES = 2.0 ** torch.arange(0.0, 10.125, 0.25, dtype=torch.double)


@dataclass(frozen=True)
class Widened:
    """Equal shares of a normal's copies, each wider than the one before by a fifth.

    Attributes:
        base: the narrowest.

    >>> from ember.infer.vi.families.normal import Normal
    >>> wide = Widened(Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double)))
    >>> u, log_q = wide.sample(4096, seed=0)
    >>> round(float((u.abs() > 30).double().mean()), 1), bool(torch.allclose(log_q, wide.log_prob(u)))
    (0.4, True)
    """

    base: Affine

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return self.base.dim

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draws, the narrowest first, and their log densities."""
        scale = _SCALES[torch.arange(n) * len(_SCALES) // n].unsqueeze(-1)
        e = scale * NormalPoints(self.dim, seed).draw(n)
        return self.base.unwhiten(e), self._log_prob(e.square().sum(-1))

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities of rows."""
        return self._log_prob(self.base.whiten(u).square().sum(-1))

    def _log_prob(self, squares: Tensor) -> Tensor:
        scales = _SCALES.unsqueeze(-1)
        of_each = -0.5 * squares / scales.square() - self.dim * (scales.log() + 0.5 * math.log(2 * math.pi))
        return torch.logsumexp(of_each, 0) - math.log(len(_SCALES)) - self.base.log_det
