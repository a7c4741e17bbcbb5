"""Kernels that repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ember.contrib.gp.kernels.isotropic import Isotropy
from ember.contrib.gp.kernels.kernel import Kernel, positive


class Cosine(Isotropy):
    """``variance cos(r)`` of the scaled distance ``r``."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self._diag(X)
        r = self._scaled_dist(X, Z)
        return self.variance * torch.cos(r)


class Periodic(Kernel):
    """``variance exp(-2 sum_i sin^2(pi (x_i - z_i) / period) / lengthscale^2)``: D. J. C. MacKay (1998).

    Args:
        input_dim: how many features.
        variance: the value at distance zero; one if None.
        lengthscale: one scale, or one for each feature; one if None.
        period: after which it repeats, one or one for each feature; one if None.
        active_dims: which features.
    """

    variance: Tensor
    lengthscale: Tensor
    period: Tensor

    def __init__(
        self,
        input_dim: int,
        variance: Tensor | None = None,
        lengthscale: Tensor | None = None,
        period: Tensor | None = None,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__(input_dim, active_dims)
        self.variance = positive(variance)
        self.lengthscale = positive(lengthscale)
        self.period = positive(period)

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self.variance.expand(X.size(0))
        X, Z = self._slice_both(X, Z)
        sines = torch.sin(math.pi * (X.unsqueeze(1) - Z.unsqueeze(0)) / self.period)
        return self.variance * torch.exp(-2 * (sines / self.lengthscale).square().sum(-1))
