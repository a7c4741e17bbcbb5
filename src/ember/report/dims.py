"""Names of the dims of sites: those of plates by the plate, those of events by the site."""

from __future__ import annotations

import torch

from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def dims_of(trace: Trace) -> dict[str, list[str]]:
    """The names of the dims of all sites with a value.

    >>> import ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     with ember.plate("schools", 3):
    ...         ember.sample("theta", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    >>> dims_of(ember.poutine.trace(model).get_trace())
    {'theta': ['schools', 'theta_dim_0']}
    """
    return {
        site.name: _dims(site)
        for site in trace.nodes.values()
        if site.is_sample and not site.is_subsample and isinstance(site.value, torch.Tensor)
    }


def _dims(site: Site) -> list[str]:
    event_dim = site.fn.event_dim
    batch_dims = site.value.dim() - event_dim
    plates = {frame.dim: frame.name for frame in site.plates}
    unnamed = iter(range(site.value.dim()))
    batch = [plates.get(dim) or f"{site.name}_dim_{next(unnamed)}" for dim in range(-batch_dims, 0)]
    # A size-1 dim of a plate of more rows is not a dim of the plate.
    sizes = {frame.name: frame.size for frame in site.plates}
    shape = site.value.shape[:batch_dims]
    batch = [
        name if name not in sizes or sizes[name] == size else f"{site.name}_dim_{next(unnamed)}"
        for name, size in zip(batch, shape, strict=True)
    ]
    return batch + [f"{site.name}_dim_{next(unnamed)}" for _ in range(event_dim)]
