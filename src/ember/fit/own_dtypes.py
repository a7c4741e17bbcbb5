"""The types that a model's values have when it runs by itself, for what a fit in double precision hands back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.modules import parameters_put_back
from ember.params.param_store import ParamStoreDict
from ember.rng import fork_rng

Program = Callable[..., Any]


def own_dtypes(model: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, torch.dtype]:
    """Types by site and parameter, from one run; none for a model that runs in double precision alone.

    >>> import ember
    >>> from ember import distributions as dist
    >>> own_dtypes(lambda: ember.sample("x", dist.Normal(0.0, 1.0)), (), {})
    {'x': torch.float32}
    """
    try:
        with (
            ParamStoreDict().active(),
            parameters_put_back(),
            fork_rng(),
            torch.no_grad(),
            poutine.block(),
            poutine.mask(mask=False),
        ):
            trace = poutine.trace(model).get_trace(*args, **kwargs)
    except (
        RuntimeError,
        ValueError,
    ):  # float64 data that meet float32 priors, arguments out of range at a draw
        return {}
    sites = [*trace.samples(), *(trace.nodes[name] for name in trace.param_nodes)]
    return {site.name: site.value.dtype for site in sites if isinstance(site.value, Tensor)}
