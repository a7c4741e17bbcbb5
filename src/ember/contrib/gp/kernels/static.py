"""Kernels that do not look at the inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ember.contrib.gp.kernels.kernel import Kernel, positive


class Constant(Kernel):
    """The same covariance everywhere.

    Args:
        input_dim: how many features.
        variance: the covariance; one if None.
        active_dims: which features.
    """

    variance: Tensor

    def __init__(
        self, input_dim: int, variance: Tensor | None = None, active_dims: Sequence[int] | None = None
    ) -> None:
        super().__init__(input_dim, active_dims)
        self.variance = positive(variance)

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        variance = self.variance
        if diag:
            return variance.expand(X.size(0))
        return variance.expand(X.size(0), (X if Z is None else Z).size(0))


class WhiteNoise(Kernel):
    """A variance of each input of its own: zero between those of ``X`` and those of ``Z``.

    Args:
        input_dim: how many features.
        variance: the variance; one if None.
        active_dims: which features.
    """

    variance: Tensor

    def __init__(
        self, input_dim: int, variance: Tensor | None = None, active_dims: Sequence[int] | None = None
    ) -> None:
        super().__init__(input_dim, active_dims)
        self.variance = positive(variance)

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        variance = self.variance
        if diag:
            return variance.expand(X.size(0))
        if Z is None:
            return variance.expand(X.size(0)).diag()
        return torch.zeros(X.size(0), Z.size(0), dtype=X.dtype, device=X.device)
