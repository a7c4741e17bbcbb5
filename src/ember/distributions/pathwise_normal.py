"""Multivariate normal distributions whose draws have other gradients than the usual, of lower variance.

References:
    M. Jankowiak, F. Obermeyer (2018), "Pathwise derivatives beyond the reparameterization trick"; M.
    Jankowiak, T. Karaletsos (2018), "Pathwise derivatives for multivariate distributions".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.multivariate import MultivariateNormal


class OMTMultivariateNormal(MultivariateNormal):
    """Normal vector whose draws move, as the Cholesky factor changes, along the optimal transport map.

    Args:
        loc: of shape ``(n,)``.
        scale_tril: of shape ``(n, n)``.

    Raises:
        ValueError: for batches of parameters.

    >>> import torch
    >>> from ember.distributions import OMTMultivariateNormal
    >>> OMTMultivariateNormal(torch.zeros(2), torch.eye(2)).rsample((3,)).shape
    torch.Size([3, 2])
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.real,
        "scale_tril": constraints.lower_triangular,
    }

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        if loc.dim() != 1:
            raise ValueError("OMTMultivariateNormal loc must be 1-dimensional")
        if scale_tril.dim() != 2:
            raise ValueError("OMTMultivariateNormal scale_tril must be 2-dimensional")
        super().__init__(loc, scale_tril=scale_tril)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw with the gradient ``A z``, where the symmetric matrix ``A`` solves ``A S + S A = dS``, S the covariance."""
        factor: Any = self.scale_tril.tril()
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        z = (noise @ factor.mT).detach()
        covariance = factor @ factor.mT
        eigenvalues, vectors = torch.linalg.eigh(covariance.detach())
        change = vectors.mT @ (covariance - covariance.detach()) @ vectors  # 0, with a gradient
        field = vectors @ (change / (eigenvalues.unsqueeze(-1) + eigenvalues)) @ vectors.mT
        draws: Tensor = self.loc + z + z @ field
        return draws


class AVFMultivariateNormal(MultivariateNormal):
    """Normal vector whose gradients have an adaptive control variate: infinitesimal rotations of the noise.

    The gradient of ``control_var`` is that of half the squared norm of the gradient of ``scale_tril``:
    descending it lowers the variance.

    Args:
        loc: of shape ``(n,)``.
        scale_tril: of shape ``(n, n)``.
        control_var: of shape ``(2, l, n)``, with any ``l``.

    Raises:
        ValueError: for batches of parameters, or another shape of ``control_var``.

    >>> import torch
    >>> from ember.distributions import AVFMultivariateNormal
    >>> AVFMultivariateNormal(torch.zeros(2), torch.eye(2), torch.zeros(2, 1, 2)).rsample((3,)).shape
    torch.Size([3, 2])
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.real,
        "scale_tril": constraints.lower_triangular,
        "control_var": constraints.real,
    }

    def __init__(self, loc: Tensor, scale_tril: Tensor, control_var: Tensor) -> None:
        if loc.dim() != 1:
            raise ValueError("AVFMultivariateNormal loc must be 1-dimensional")
        if scale_tril.dim() != 2:
            raise ValueError("AVFMultivariateNormal scale_tril must be 2-dimensional")
        if control_var.dim() != 3 or control_var.size(0) != 2 or control_var.size(2) != loc.size(0):
            raise ValueError(
                "control_var should be of size 2 x L x D, where D is the dimension of the location parameter loc"
            )
        self.control_var = control_var
        super().__init__(loc, scale_tril=scale_tril)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw with the gradients of the reparameterisation, plus the control variate."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        draws: Tensor = _AdaptiveField.apply(  # type: ignore[no-untyped-call]
            self.loc, self.scale_tril, self.control_var, noise
        )
        return draws


class _AdaptiveField(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loc: Tensor, factor: Tensor, control: Tensor, noise: Tensor) -> Tensor:
        ctx.save_for_backward(factor, control, noise)
        return loc + noise @ factor.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        factor, control, noise = ctx.saved_tensors
        n = factor.size(-1)
        g, noise = grad.reshape(-1, n), noise.reshape(-1, n)
        # Rotations of the noise leave its distribution as it is, so this has mean zero.
        rotated = (g @ factor).mT @ noise
        rotation = rotated - rotated.mT
        left, right = control
        factor_grad = (g.mT @ noise + rotation * (left.mT @ right)).tril()
        weighted = factor_grad * rotation
        return g.sum(0), factor_grad, torch.stack([right @ weighted.mT, left @ weighted]), None
