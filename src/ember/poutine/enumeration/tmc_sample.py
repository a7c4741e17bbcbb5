"""Samples for Tensor Monte Carlo: a site's own samples along its own dim, one ancestor for each.

A site whose parameters carry the samples of other sites would get samples for each combination of them. These functions choose,
for each new sample, one sample of every ancestor (Aitchison, 2018, "Tensor Monte Carlo: particle methods for the GPU era").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember.distributions.tensors import gather
from ember.errors import ModelError
from ember.poutine.site import Site
from ember.poutine.traced_sizes import as_int


def _same_as_own(num_samples: int, size: int, device: torch.device) -> Tensor:
    """The n-th sample descends from the n-th sample of the ancestor."""
    if size != num_samples:
        raise ModelError(
            f"tmc='diagonal' needs the same num_samples at all sites, but found {num_samples} and {size}; "
            "use tmc='mixture' for different numbers"
        )
    return torch.arange(size, device=device)


def _uniform(num_samples: int, size: int, device: torch.device) -> Tensor:
    """Each sample draws its ancestor."""
    uniform: Any = torch.distributions.Categorical(logits=torch.zeros(size, device=device))
    index: Tensor = uniform.sample((num_samples,))
    return index


_ANCESTORS: dict[str, Callable[[int, int, torch.device], Tensor]] = {
    "diagonal": _same_as_own,
    "mixture": _uniform,
}


def tmc_sample(msg: Site, strategy: str) -> Tensor:
    """``num_samples`` samples of a site along a new leftmost dim, with size 1 at batch dims that belong to no plate.

    Raises:
        ValueError: if the strategy is neither ``"diagonal"`` nor ``"mixture"``.
    """
    if strategy not in _ANCESTORS:
        raise ModelError(
            f"{strategy} not a valid TMC strategy at site {msg.name!r}; valid are {', '.join(_ANCESTORS)}"
        )
    fn: Any = msg.fn
    num_samples = msg.num_samples
    assert num_samples is not None
    samples: Tensor = fn(torch.Size([num_samples]))
    plates = {frame.dim for frame in msg.cond_indep_stack if frame.vectorized}
    event_dim = fn.event_dim
    for dim in range(-len(fn.batch_shape), 0):
        at = dim - event_dim
        size = as_int(samples.shape[at])
        if dim not in plates and size > 1:
            ancestors = _ANCESTORS[strategy](num_samples, size, samples.device)
            index = ancestors.reshape((num_samples,) + (1,) * (samples.dim() - 1))
            samples = gather(samples, index, at)
    return samples
