"""Newton steps on batches of small variables at once, in a trust region if wanted.

References:
    Y. Yuan (2000), "A review of trust region algorithms for optimization".
    B. Christianson (1994), "Reverse accumulation and attractive fixed points", for why the last step alone carries gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ember.ops.linalg import eig_3d, rinverse

__all__ = ["newton_step", "newton_step_1d", "newton_step_2d", "newton_step_3d"]

_SMALLEST = 1e-8


def newton_step(loss: Tensor, x: Tensor, trust_radius: float | None = None) -> tuple[Tensor, Tensor]:
    """One step towards the minimum of a loss that is a sum over the rows of ``x``.

    The result is differentiable in whatever the loss depends on, even if ``x`` is detached before each step but the last: close
    to the minimum a step forgets where it began. Detach it in a loop, else gradients go back through all steps.

    Args:
        loss: a scalar, twice differentiable in ``x``.
        x: shape ``(..., D)``.
        trust_radius: the most that a row moves; without it, a row moves by what the second derivatives say.

    Returns:
        the new ``x``, and the inverses ``(..., D, D)`` of the second derivatives: for a negative log density,
            the mode and the covariance of Laplace's approximation.

    Raises:
        ValueError: if the loss has dims, or ``x`` has none.

    >>> x = torch.zeros(1, 2, requires_grad=True)
    >>> mode, cov = newton_step((x - torch.tensor([1.0, 3.0])).square().sum(), x)
    >>> mode.detach(), cov.diagonal(dim1=-2, dim2=-1)
    (tensor([[1., 3.]]), tensor([[0.5000, 0.5000]], grad_fn=<DiagonalBackward0>))
    """
    if x.dim() < 1:
        raise ValueError(f"Expected x to have at least one dimension, actual shape {x.shape}")
    return _step(loss, x, x.shape[-1], trust_radius)


def newton_step_1d(loss: Tensor, x: Tensor, trust_radius: float | None = None) -> tuple[Tensor, Tensor]:
    """:func:`newton_step` for ``D = 1``; curvature below 1e-8 counts as that, so that every step goes downhill."""
    return _step(loss, x, 1, trust_radius)


def newton_step_2d(loss: Tensor, x: Tensor, trust_radius: float | None = None) -> tuple[Tensor, Tensor]:
    """:func:`newton_step` for ``D = 2``."""
    return _step(loss, x, 2, trust_radius)


def newton_step_3d(loss: Tensor, x: Tensor, trust_radius: float | None = None) -> tuple[Tensor, Tensor]:
    """:func:`newton_step` for ``D = 3``."""
    return _step(loss, x, 3, trust_radius)


def _step(loss: Tensor, x: Tensor, dim: int, trust_radius: float | None) -> tuple[Tensor, Tensor]:
    if loss.shape != ():
        raise ValueError(f"Expected loss to be a scalar, actual shape {loss.shape}")
    if x.dim() < 1 or x.shape[-1] != dim:
        raise ValueError(f"Expected x to have rightmost size {dim}, actual shape {x.shape}")
    slope, curvature = _derivatives(loss, x)
    if dim == 1:
        covariance = curvature.clamp(min=_SMALLEST).reciprocal()
        move = -slope * covariance.squeeze(-1)
        move = torch.where(move.isnan(), 0.0, move)
        if trust_radius is not None:
            move = move.clamp(-trust_radius, trust_radius)
        return x.detach() + move, covariance
    if trust_radius is not None:
        # With so much added to its diagonal, the inverse is short enough: |H^-1 g| <= |g| / smallest eigenvalue.
        missing = slope.norm(dim=-1) / trust_radius - _smallest_eigenvalue(curvature)
        eye = torch.eye(dim, dtype=x.dtype, device=x.device)
        curvature = curvature + missing.clamp(min=_SMALLEST)[..., None, None] * eye
    covariance = rinverse(curvature, sym=True)
    return x.detach() - (covariance @ slope.unsqueeze(-1)).squeeze(-1), covariance


def _derivatives(loss: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    rows = [
        torch.autograd.grad(part.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)[0]
        if part.requires_grad
        else torch.zeros_like(x)
        for part in slope.unbind(-1)
    ]
    return slope, torch.stack(rows, -1)


def _smallest_eigenvalue(curvature: Tensor) -> Tensor:
    dim = curvature.shape[-1]
    if dim == 3:
        return eig_3d(curvature)[0]
    if dim > 3:
        smallest: Tensor = torch.linalg.eigvalsh(curvature)[..., 0]
        return smallest
    diagonal = curvature.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.mean(-1)
    half_gap = (diagonal[..., 0] - diagonal[..., 1]) / 2
    off = curvature[..., 0, 1]
    squared = half_gap.square() + off.square()
    # The square root of zero has no derivative.
    root = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
    return mean - root
