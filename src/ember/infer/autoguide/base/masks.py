"""The masks of the model's latent sites, for the terms of a guide.

A latent value that is masked out has no term in the model; if it had one in the guide, its entropy would count alone, and the
loss fall without end. A guide's density is a product of conditional densities, entry by entry; those of masked entries are left
out. What is left is the bound of a model in which these entries are drawn as the guide draws them: never above the log evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember import distributions as dist
from ember.distributions import constraints
from ember.distributions.torch_distribution import Independent, MaskedDistribution
from ember.distributions.typed_torch import broadcast_shapes
from ember.errors import ModelError
from ember.infer.autoguide.base.layout import SiteLayout
from ember.infer.autoguide.base.prototype import full_size_of
from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace

Mask = bool | Tensor
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def joint_mask(first: Mask | None, second: Mask | None) -> Mask | None:
    """Where both hold; None stands for everywhere."""
    if first is None or first is True:
        return second
    if second is None or second is True:
        return first
    return False if first is False or second is False else first & second


def masks_of(model_trace: Trace) -> dict[str, Mask]:
    """The masks of latent sites by name, of handlers and of distributions; sites that are counted everywhere are left out.

    Raises:
        ModelError: if a part of an event is masked, as some steps of a path.
    """
    found: dict[str, Mask] = {}
    for name, site in model_trace.iter_stochastic_nodes():
        fn = site.fn
        if _masks_a_part(fn):
            raise ModelError(
                f"site {name!r} is latent and masked in a part of its event (in some steps of a scan, perhaps), which automatic "
                "guides cannot leave out; mask observed sites only, or write the guide by hand, masked in the same way"
            )
        mask = joint_mask(site.mask, fn.applied_mask if isinstance(fn, MaskedDistribution) else None)
        if mask is not None and mask is not True:
            found[name] = mask
    return found


def _masks_a_part(fn: Any) -> bool:
    inner = fn
    while isinstance(inner, Independent):
        inner = inner.base_dist
    return inner is not fn and isinstance(inner, MaskedDistribution) and inner.applied_mask is not True


def add_mask(site: Site, mask: Mask) -> None:
    """Mask a site of a guide's trace too."""
    site.mask = joint_mask(site.mask, mask)


def entry_mask(mask: Mask, batch_shape: Size, event_shape: Size, lead: Size) -> Tensor:
    """The mask of a site for each entry of its part of a packed vector.

    Args:
        mask: broadcasts with ``batch_shape``, perhaps with dims of ``lead`` to the left.
        batch_shape: of the site, for all rows of its plates.
        event_shape: of the site in unconstrained space.
        lead: the batch shape of the vector; dims that it shares with the site have size 1.

    Shapes:
        result: broadcasts with ``lead + (entries,)``.
    """
    whole = torch.as_tensor(mask)
    outer = lead[: max(0, len(lead) - len(batch_shape))] if whole.dim() > len(batch_shape) else Size()
    batch = whole.expand(outer + batch_shape)
    entries = batch.reshape(batch.shape + (1,) * len(event_shape)).expand(batch.shape + event_shape)
    inner = (1,) * (len(lead) - len(outer)) if outer else ()
    return entries.reshape((*outer, *inner, -1))


def at_all_rows(mask: Mask, site: Site, guide_trace: Trace) -> Mask:
    """A mask of the rows that plates have chosen, for all their rows: those that were not chosen are counted."""
    for frame in site.cond_indep_stack:
        full_size = full_size_of(frame)
        chosen = guide_trace.nodes.get(frame.name)
        if not isinstance(mask, Tensor) or chosen is None or not _varies(mask, frame):
            continue
        if len(chosen.value) != full_size:
            shape = list(mask.shape)
            assert frame.dim is not None
            shape[frame.dim] = full_size
            mask = mask.new_ones(shape).index_copy(frame.dim, chosen.value, mask)
    return mask


def _varies(mask: Tensor, frame: CondIndepStackFrame) -> bool:
    return frame.dim is not None and mask.dim() >= -frame.dim and mask.shape[frame.dim] > 1


def mask_packed(
    packed: Site, shapes: Sequence[tuple[SiteLayout, Size]], masks: Mapping[str, Mask], guide_trace: Trace
) -> None:
    """Mask the entries of the site at which a guide draws one vector.

    Args:
        packed: that site.
        shapes: for each part of the vector, in order, its site and its shape in unconstrained space.
        masks: those of the model's sites.
        guide_trace: the trace that the site is in.
    """
    if isinstance(packed.fn, dist.Delta):
        return  # a point has no density that could count
    lead, parts = packed.fn.batch_shape, []
    for layout, shape in shapes:
        event_start = len(shape) - layout.unconstrained_event_dim
        mask = at_all_rows(masks.get(layout.name, True), layout.site, guide_trace)
        parts.append(entry_mask(mask, shape[:event_start], shape[event_start:], lead))
    around = broadcast_shapes(*(part.shape[:-1] for part in parts))
    whole = torch.cat([part.expand(around + part.shape[-1:]) for part in parts], -1)
    packed.fn = MaskedEntries(packed.fn, whole.to(packed.value.device))


class MaskedEntries(dist.TorchDistribution):
    """A distribution of vectors whose density counts some entries only.

    Args:
        base: the distribution.
        mask: broadcasts with the values.
    """

    arg_constraints: dict[str, Constraint] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: Any, mask: Tensor) -> None:
        self.base_dist, self.entries = base, mask
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """As the base."""
        drawn: Tensor = self.base_dist.rsample(sample_shape)
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum of the conditional log densities of the entries that count."""
        counted = self.entries.expand(value.shape)
        base = self.base_dist
        if isinstance(base, torch.distributions.MultivariateNormal):
            factor = base._unbroadcasted_scale_tril
            noise = torch.linalg.solve_triangular(factor, (value - base.loc).unsqueeze(-1), upper=False)
            terms = (
                -0.5 * noise.squeeze(-1).square() - factor.diagonal(dim1=-2, dim2=-1).log() - _HALF_LOG_2PI
            )
            return _summed(terms, counted)
        if isinstance(base, torch.distributions.LowRankMultivariateNormal):
            return _low_rank(base, value, counted)
        if isinstance(base, torch.distributions.Independent) and not base.base_dist.event_shape:
            return _summed(base.base_dist.log_prob(value), counted)
        # Not known entry by entry: what is masked out is drawn from a standard normal distribution in the model's stead.
        stand_in = -0.5 * value.square() - _HALF_LOG_2PI
        log_prob: Tensor = base.log_prob(value)
        return log_prob - _summed(stand_in, ~counted)


def _summed(terms: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, terms, terms.new_zeros(())).sum(-1)


def _low_rank(base: Any, value: Tensor, counted: Tensor) -> Tensor:
    """The log density of the marginal distribution of the entries that count."""
    factor = torch.where(counted.unsqueeze(-1), base._unbroadcasted_cov_factor, value.new_zeros(()))
    diagonal = torch.where(counted, base._unbroadcasted_cov_diag, value.new_ones(()))
    centred = torch.where(counted, value - base.loc, value.new_zeros(()))
    marginal = dist.LowRankMultivariateNormal(
        torch.zeros_like(centred), factor, diagonal, validate_args=False
    )
    added: Tensor = marginal.log_prob(centred)  # type: ignore[no-untyped-call]
    return added + _HALF_LOG_2PI * (~counted).sum(-1)
