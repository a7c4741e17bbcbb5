"""Brownian motion from zero, to both sides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ember.contrib.gp.kernels.kernel import Kernel, positive


class Brownian(Kernel):
    """``variance min(|x|, |z|)`` where both are on one side of zero, and 0 elsewhere.

    Args:
        input_dim: 1.
        variance: that at distance one from zero; one if None.
        active_dims: which feature.

    Raises:
        ValueError: for more features.
    """

    variance: Tensor

    def __init__(
        self, input_dim: int, variance: Tensor | None = None, active_dims: Sequence[int] | None = None
    ) -> None:
        if input_dim != 1:
            raise ValueError("Input dimensional for Brownian kernel must be 1.")
        super().__init__(input_dim, active_dims)
        self.variance = positive(variance)

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self.variance * self._slice_input(X).squeeze(1).abs()
        X, Z = self._slice_both(X, Z)
        least = self.variance * torch.minimum(X.abs(), Z.t().abs())
        return torch.where(X * Z.t() >= 0, least, torch.zeros_like(least))
