"""The guide that a fit leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.infer.autoguide.packed.diagonal_normal import AutoDiagonalNormal
from ember.infer.autoguide.packed.multivariate_normal import AutoMultivariateNormal
from ember.params.fits import note_fit
from ember.params.param_store import ParamStoreDict

_LEAST = 1e-12  # variance: of one draw with all of the weight
Program = Callable[..., Any]
MOST_FULL = 500
"""Above so many coordinates a guide has no correlations: their matrix would outgrow the model."""


def normal_guide(
    model: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    store: ParamStoreDict,
    moments: tuple[Tensor, Tensor],
) -> AutoContinuous:
    """An autoguide of a model at the moments of weighed rows.

    Args:
        model: the model.
        args: its arguments.
        kwargs: its keyword arguments.
        store: where the guide's parameters go.
        moments: mean ``(D,)``, and covariance ``(D, D)`` or variances ``(D,)``.
    """
    loc, spread = moments
    kind = AutoMultivariateNormal if spread.dim() == 2 else AutoDiagonalNormal
    guide = kind(model)
    with store.active(), torch.random.fork_rng(devices=[]), torch.no_grad():
        guide.ensure_prototype(args, kwargs)
        dtype = guide.loc.dtype
        guide.loc.copy_(loc)
        if spread.dim() == 2:
            factor = _factor(spread)
            scale = factor.diagonal()
            guide.scale_tril = (factor / scale.unsqueeze(-1)).to(dtype)
        else:
            scale = spread.sqrt()
        guide.scale = scale.to(dtype)
    note_fit(guide, store)
    return guide


def _factor(spread: Tensor) -> Tensor:
    """A lower factor of a covariance. Where a few draws have all of the weight, the diagonal grows until there is one."""
    diagonal = spread.diagonal().clamp_min(_LEAST)
    for exponent in range(-10, 1):
        grown = spread + 10.0**exponent * diagonal.diag()
        factor, info = torch.linalg.cholesky_ex(grown)
        if not int(info) and bool(torch.isfinite(factor).all()):
            return cast(Tensor, factor)
    return diagonal.sqrt().diag()


def moments_of(u: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of weighed rows; variances only where a row is long.

    Args:
        u: rows, ``(S, D)``.
        log_weights: normalised, ``(S,)``.
    """
    weights = log_weights.exp().unsqueeze(-1)
    mean = (weights * u).sum(0)
    apart = u - mean
    if u.shape[-1] > MOST_FULL:
        return mean, (weights * apart.square()).sum(0)
    return mean, apart.mT @ (weights * apart)
