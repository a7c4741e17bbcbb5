"""Kernels of the scaled distance ``r = |x - z| / lengthscale``: Rasmussen and Williams (2006), chapter 4."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ember.contrib.gp.kernels.kernel import Kernel, positive


class Isotropy(Kernel):
    """Base of kernels of the scaled distance.

    Args:
        input_dim: how many features.
        variance: the value at distance zero; one if None.
        lengthscale: one scale, or one for each feature; one if None.
        active_dims: which features.
    """

    variance: Tensor
    lengthscale: Tensor

    def __init__(
        self,
        input_dim: int,
        variance: Tensor | None = None,
        lengthscale: Tensor | None = None,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__(input_dim, active_dims)
        self.variance = positive(variance)
        self.lengthscale = positive(lengthscale)

    def _square_scaled_dist(self, X: Tensor, Z: Tensor | None = None) -> Tensor:
        X, Z = self._slice_both(X, Z)
        scale = self.lengthscale
        x, z = X / scale, Z / scale
        squares = x.square().sum(1, keepdim=True) - 2 * x @ z.t() + z.square().sum(1, keepdim=True).t()
        return squares.clamp(min=0)

    def _scaled_dist(self, X: Tensor, Z: Tensor | None = None) -> Tensor:
        # The square root has no derivative at zero.
        return (self._square_scaled_dist(X, Z) + 1e-12).sqrt()

    def _diag(self, X: Tensor) -> Tensor:
        return self.variance.expand(X.size(0))


class RBF(Isotropy):
    """``variance exp(-r^2 / 2)``: the squared exponential.

    >>> import torch
    >>> RBF(1)(torch.tensor([0.0, 1.0])).detach()
    tensor([[1.0000, 0.6065],
            [0.6065, 1.0000]])
    """

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self._diag(X)
        r2 = self._square_scaled_dist(X, Z)
        return self.variance * torch.exp(-0.5 * r2)


class RationalQuadratic(Isotropy):
    """``variance (1 + r^2 / (2 a))^-a``: a mixture of squared exponentials.

    Args:
        input_dim: how many features.
        variance: the value at distance zero; one if None.
        lengthscale: one scale, or one for each feature; one if None.
        scale_mixture: the exponent ``a``; one if None.
        active_dims: which features.
    """

    scale_mixture: Tensor

    def __init__(
        self,
        input_dim: int,
        variance: Tensor | None = None,
        lengthscale: Tensor | None = None,
        scale_mixture: Tensor | None = None,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__(input_dim, variance, lengthscale, active_dims)
        self.scale_mixture = positive(scale_mixture)

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self._diag(X)
        r2 = self._square_scaled_dist(X, Z)
        a = self.scale_mixture
        return self.variance * (1 + (0.5 / a) * r2).pow(-a)


class Exponential(Isotropy):
    """``variance exp(-r)``."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self._diag(X)
        r = self._scaled_dist(X, Z)
        return self.variance * torch.exp(-r)


class Matern32(Isotropy):
    """``variance (1 + sqrt(3) r) exp(-sqrt(3) r)``: functions with one derivative."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self._diag(X)
        s = math.sqrt(3) * self._scaled_dist(X, Z)
        return self.variance * (1 + s) * torch.exp(-s)


class Matern52(Isotropy):
    """``variance (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r)``: functions with two derivatives."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if diag:
            return self._diag(X)
        r2 = self._square_scaled_dist(X, Z)
        s = math.sqrt(5) * (r2 + 1e-12).sqrt()
        return self.variance * (1 + s + (5 / 3) * r2) * torch.exp(-s)
