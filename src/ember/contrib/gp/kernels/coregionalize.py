"""A linear kernel with a matrix of weights between features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from ember.contrib.gp.kernels.kernel import Kernel, positive


class Coregionalize(Kernel):
    """``x^T (W W^T + D) z`` of a matrix ``W`` of low rank and a diagonal ``D``; often warped by a network.

    M. A. Alvarez, L. Rosasco and N. D. Lawrence (2012), *Kernels for vector-valued functions: a review*.

    Args:
        input_dim: how many features.
        rank: the columns of ``W``, drawn at random; needed without ``components``.
        components: the first ``W``, (features, rank).
        diagonal: the first ``D``, (features,); one half if None.
        active_dims: which features.

    Raises:
        ValueError: without rank and components, or if the shapes do not match.
    """

    components: Tensor
    diagonal: Tensor

    def __init__(
        self,
        input_dim: int,
        rank: int | None = None,
        components: Tensor | None = None,
        diagonal: Tensor | None = None,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__(input_dim, active_dims)
        if components is None:
            rank = input_dim if rank is None else rank
            components = torch.randn(input_dim, rank) * (0.5 / rank) ** 0.5
        elif components.dim() != 2 or components.shape[0] != input_dim:
            raise ValueError(f"Expected components.shape == ({input_dim},rank), actual {components.shape}")
        if rank is not None and components.shape[1] != rank:
            raise ValueError(f"Expected components of rank {rank}, actual shape {tuple(components.shape)}")
        self.components = Parameter(components.detach().clone())
        diagonal = components.new_ones(input_dim) * 0.5 if diagonal is None else diagonal
        if diagonal.shape != (input_dim,):
            raise ValueError(f"Expected diagonal.shape == ({input_dim},), actual {diagonal.shape}")
        self.diagonal = positive(diagonal)

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        X = self._slice_input(X)
        Xc = X @ self.components
        if diag:
            return Xc.square().sum(-1) + (X.square() * self.diagonal).sum(-1)
        if Z is None:
            Z, Zc = X, Xc
        else:
            Z = self._slice_input(Z)
            Zc = Z @ self.components
        return Xc @ Zc.t() + (X * self.diagonal) @ Z.t()
