"""The conditional distribution of a Gaussian process, and a loop that trains one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember.infer import TraceMeanField_ELBO
from ember.ops.scalars import torch_item


def add_to_diagonal(matrix: Tensor, value: Any) -> Tensor:
    """The matrices with a value added to their diagonals."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    added: Tensor = matrix + eye * value
    return added


def conditional(
    Xnew: Tensor,
    X: Tensor,
    kernel: Any,
    f_loc: Tensor,
    f_scale_tril: Tensor | None = None,
    Lff: Tensor | None = None,
    full_cov: bool = False,
    whiten: bool = False,
    jitter: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the function at new points, given its distribution at others.

    C. E. Rasmussen and C. K. I. Williams (2006), *Gaussian processes for machine learning*, chapter 2; for an
    uncertain function J. Hensman, A. Matthews and Z. Ghahramani (2015), *Scalable variational Gaussian process
    classification*.

    Args:
        Xnew: the new points.
        X: the N points.
        kernel: the covariance function.
        f_loc: the mean at ``X``, of shape (..., N).
        f_scale_tril: the Cholesky factor of the covariance at ``X``, (..., N, N); the function is known if None.
        Lff: the Cholesky factor of ``kernel(X)``, if it is known.
        full_cov: the covariance matrix, and not the variances.
        whiten: ``f_loc`` and ``f_scale_tril`` are those of ``Lff^-1 f``.
        jitter: added to the diagonal of ``kernel(X)``.

    Returns:
        The mean, (..., M), and the variances, (..., M), or covariances, (..., M, M).
    """
    if Lff is None:
        Lff = torch.linalg.cholesky(add_to_diagonal(kernel(X), jitter))
    W = torch.linalg.solve_triangular(Lff, kernel(X, Xnew), upper=False)  # Lff^-1 Kfs
    v = f_loc.unsqueeze(-1)
    S = f_scale_tril
    if not whiten:
        v = torch.linalg.solve_triangular(Lff, v, upper=False)
        S = None if S is None else torch.linalg.solve_triangular(Lff, S, upper=False)
    Wt = W.transpose(-2, -1)
    loc = (Wt @ v).squeeze(-1)
    WtS = None if S is None else Wt @ S
    if full_cov:
        cov = kernel(Xnew) - Wt @ W
        if WtS is not None:
            cov = cov + WtS @ WtS.transpose(-2, -1)
        return loc, cov.expand(f_loc.shape[:-1] + cov.shape[-2:])
    var = kernel(Xnew, diag=True) - W.square().sum(-2)
    # Rounding can take a variance below zero where the function is known.
    var = var.clamp(min=0)
    if WtS is not None:
        var = var + WtS.square().sum(-1)
    return loc, var.expand(f_loc.shape[:-1] + var.shape[-1:])


def train(
    gpmodule: Any,
    optimizer: torch.optim.Optimizer | None = None,
    loss_fn: Callable[..., Tensor] | None = None,
    retain_graph: bool | None = None,
    num_steps: int = 1000,
) -> list[float]:
    """Fit the parameters of a model.

    Args:
        gpmodule: a model of :mod:`ember.contrib.gp.models`.
        optimizer: of torch; Adam with ``lr=0.01`` if None.
        loss_fn: a function of model and guide; the negative ELBO with analytic divergences if None.
        retain_graph: as in ``torch.autograd.backward``.
        num_steps: how many steps.

    Returns:
        The loss before each step.
    """
    optimizer = torch.optim.Adam(gpmodule.parameters(), lr=0.01) if optimizer is None else optimizer
    loss_fn = TraceMeanField_ELBO().differentiable_loss if loss_fn is None else loss_fn
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = loss_fn(gpmodule.model, gpmodule.guide)
        torch.autograd.backward(loss, retain_graph=retain_graph)
        optimizer.step()
        losses.append(torch_item(loss))
    return losses
