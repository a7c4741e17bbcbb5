"""Closed-form Kullback-Leibler divergences beyond torch's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ember.distributions.delta import Delta
from ember.distributions.distribution import Distribution
from ember.distributions.masking import scale_and_mask
from ember.distributions.shapes import sum_rightmost
from ember.distributions.torch_distribution import Independent, MaskedDistribution
from ember.distributions.typed_torch import kl_divergence as kl_divergence
from ember.distributions.typed_torch import register_kl as register_kl

__all__ = ["kl_divergence", "register_kl"]

_Independents: Any = torch.distributions.Independent
_MultivariateNormals: Any = torch.distributions.MultivariateNormal
_TorchDistributions: Any = torch.distributions.Distribution


@register_kl(Delta, Distribution)
@register_kl(Delta, _TorchDistributions)
def _kl_delta(p: Delta, q: Any) -> Tensor:
    # A constant has no entropy; a log density of its own counts as minus its entropy.
    return p.log_density - q.log_prob(p.v)  # type: ignore[no-any-return]


# torch's own entry for two torch.distributions.Independent, which demands equal numbers of dims, stays.
@register_kl(Independent, Independent)
@register_kl(Independent, _Independents)
@register_kl(_Independents, Independent)
def _kl_independent_independent(p: Any, q: Any) -> Tensor:
    shared = min(p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims)
    kl = kl_divergence(_less_event(p, shared), _less_event(q, shared))
    return sum_rightmost(kl, shared)  # type: ignore[no-any-return]


def _less_event(d: Any, ndims: int) -> Any:
    left = d.reinterpreted_batch_ndims - ndims
    return Independent(d.base_dist, left) if left else d.base_dist


@register_kl(Independent, _MultivariateNormals)
def _kl_independent_mvn(p: Any, q: Any) -> Tensor:
    base = p.base_dist
    if p.reinterpreted_batch_ndims == 1 and isinstance(base, Delta) and base.event_dim == 0:
        return base.log_density.sum(-1) - q.log_prob(base.v)  # type: ignore[no-any-return]
    if p.reinterpreted_batch_ndims == 1 and isinstance(base, torch.distributions.Normal):
        # Cross entropy: minus q's log density at loc, plus half the trace of q's precision times diag(scale^2).
        trace = (base.scale.square() * q.precision_matrix.diagonal(dim1=-2, dim2=-1)).sum(-1)
        entropy = base.scale.log().sum(-1) + 0.5 * q.event_shape[0] * (1 + math.log(2 * math.pi))
        return 0.5 * trace - q.log_prob(base.loc) - entropy  # type: ignore[no-any-return]
    raise NotImplementedError(f"no closed form for the divergence of {p} from {q}")


@register_kl(MaskedDistribution, MaskedDistribution)
def _kl_masked_masked(p: MaskedDistribution, q: MaskedDistribution) -> Any:
    p_mask, q_mask = p.applied_mask, q.applied_mask
    if p_mask is False or q_mask is False:
        return 0.0
    if isinstance(p_mask, Tensor) and isinstance(q_mask, Tensor):
        mask: bool | Tensor = p_mask if p_mask is q_mask else p_mask & q_mask
    else:
        mask = q_mask if p_mask is True else p_mask
    return scale_and_mask(kl_divergence(p.base_dist, q.base_dist), mask=mask)
