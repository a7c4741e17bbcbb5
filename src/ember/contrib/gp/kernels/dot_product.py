"""Kernels of the inner product of inputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ember.contrib.gp.kernels.kernel import Kernel, positive


class DotProduct(Kernel):
    """Base of kernels of the inner product.

    Args:
        input_dim: how many features.
        variance: a factor; one if None.
        active_dims: which features.
    """

    variance: Tensor

    def __init__(
        self, input_dim: int, variance: Tensor | None = None, active_dims: Sequence[int] | None = None
    ) -> None:
        super().__init__(input_dim, active_dims)
        self.variance = positive(variance)

    def _dot_product(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        if diag:
            return self._slice_input(X).square().sum(-1)
        X, Z = self._slice_both(X, Z)
        return X @ Z.t()


class Linear(DotProduct):
    """``variance x.z``: a linear regression."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        return self.variance * self._dot_product(X, Z, diag)


class Polynomial(DotProduct):
    """``variance (bias + x.z)^degree``.

    Args:
        input_dim: how many features.
        variance: a factor; one if None.
        bias: positive; one if None.
        degree: a positive integer.
        active_dims: which features.

    Raises:
        ValueError: for another degree.
    """

    bias: Tensor

    def __init__(
        self,
        input_dim: int,
        variance: Tensor | None = None,
        bias: Tensor | None = None,
        degree: int = 1,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__(input_dim, variance, active_dims)
        if not isinstance(degree, int) or degree < 1:
            raise ValueError("Degree for Polynomial kernel should be a positive integer.")
        self.bias = positive(bias)
        self.degree = degree

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        return self.variance * (self.bias + self._dot_product(X, Z, diag)).pow(self.degree)
