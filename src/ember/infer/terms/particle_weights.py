"""Log densities by particle, and by the plates that are around all sites: rows of those have weights of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ember.infer.traces.plates import PARTICLE_PLATE, get_dependent_plate_dims
from ember.ops.scalars import torch_sum
from ember.poutine.trace_struct import Trace


class Layout(NamedTuple):
    """How log densities of sites are summed to those of a particle."""

    sum_dims: list[int]
    """The dims of plates that are around some sites only."""
    scale: float
    """By how much the other plates scale log densities to make up for subsampling."""

    def total(self, terms: Iterable[Tensor]) -> Any:
        """The sum of log densities, one for each row of the common plates; 0.0 if there are none."""
        result: Any = 0.0
        for term in terms:
            result = result + torch_sum(term, self.sum_dims)
        return result if self.scale == 1.0 else result / self.scale


def layout_of(model_trace: Trace, guide_trace: Trace) -> Layout:
    """The layout of a pair of traces."""
    sites = [
        site for trace in (model_trace, guide_trace) for site in trace.nodes.values() if site.type == "sample"
    ]
    sum_dims = get_dependent_plate_dims(sites)
    common = set.intersection(*(set(site.cond_indep_stack) for site in sites)) if sites else set()
    scale = 1.0
    frames = sites[0].cond_indep_stack if sites else ()
    for frame in frames:
        full = frame.size if frame.full_size is None else frame.full_size
        if frame in common and frame.vectorized and frame.name != PARTICLE_PLATE and full != frame.size:
            scale *= full / frame.size
    return Layout(sum_dims, scale)


def stacked(values: Sequence[Any], vectorized: bool) -> Tensor:
    """One tensor with the particles along the first dim. A particle without any site counts as zeros."""
    if vectorized:
        return torch.as_tensor(values[0])
    known = next((value for value in values if isinstance(value, Tensor)), torch.zeros(()))
    return torch.stack([value if isinstance(value, Tensor) else torch.zeros_like(known) for value in values])
