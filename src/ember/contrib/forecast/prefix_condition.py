"""What is left of a distribution over times, given the first of them."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from torch import Tensor

from ember import distributions as dist
from ember.contrib.forecast.batches import has_parameters, with_parameters
from ember.contrib.forecast.elementwise import at_times
from ember.infer.reparam.reparam import as_ember


@singledispatch
def prefix_condition(d: Any, data: Tensor) -> Any:
    """The distribution of later times, given those that were seen.

    Families without memory lose their first times. A distribution that has a method ``prefix_condition(data)``, such as
    :class:`~ember.distributions.GaussianHMM`, is asked. A new type is registered as with :func:`functools.singledispatch`.

    Args:
        d: of shape ``batch_shape + (t + f, n)``.
        data: of shape ``batch_shape + (t, n)``.

    Returns:
        A distribution of shape ``batch_shape + (f, n)``.

    Raises:
        NotImplementedError: for a distribution for which it is not known.

    >>> import torch
    >>> d = dist.Normal(torch.arange(5.0).unsqueeze(-1), 1.0).to_event(2)
    >>> prefix_condition(d, torch.zeros(3, 1)).mean.squeeze(-1)
    tensor([3., 4.])
    """
    if hasattr(d, "prefix_condition"):
        return d.prefix_condition(data)
    shape = tuple(d.shape())
    assert len(shape) >= 2, (
        f"prefix_condition(): {type(d).__name__} of shape {shape} has no dims of time and series"
    )
    if d.event_dim > 1:
        raise NotImplementedError(
            f"prefix_condition() does not support {type(d).__name__}, whose events have {d.event_dim} dims: how later "
            "times depend on earlier ones is its own affair. Give it a method prefix_condition(data)"
        )
    seen = data.size(-2)
    time = len(shape) - 2  # a batch dim: in front of the dims of an event
    return with_parameters(
        d, lambda value, right: value.narrow(time, seen, value.size(time) - seen), "prefix_condition"
    )


_by_parameters = prefix_condition.dispatch(object)


@prefix_condition.register(dist.MaskedDistribution)
def _(d: Any, data: Tensor) -> Any:
    base, mask = prefix_condition(d.base_dist, data), d.applied_mask
    if isinstance(mask, Tensor):
        # The later times; where these lie in the event, all of it.
        mask = mask[tuple(slice(-size, None) for size in base.batch_shape)]
    return base.mask(mask)


@prefix_condition.register(dist.Independent)
def _(d: Any, data: Tensor) -> Any:
    return prefix_condition(d.base_dist, data).to_event(d.reinterpreted_batch_ndims)


@prefix_condition.register(dist.FoldedDistribution)
def _(d: Any, data: Tensor) -> Any:
    return dist.FoldedDistribution(prefix_condition(d.base_dist, data))


@prefix_condition.register(dist.TransformedDistribution)
def _(d: Any, data: Tensor) -> Any:
    if has_parameters(d):
        return _by_parameters(d, data)
    base = as_ember(d.base_dist)  # torch may have put its own Independent around it
    shape, seen = base.shape(), data.size(-2)
    end = shape[-2]
    for t in reversed(d.transforms):
        data = at_times(t, shape, 0, seen).inv(data)
    base = prefix_condition(base, data)
    return dist.TransformedDistribution(base, [at_times(t, shape, seen, end) for t in d.transforms])


@prefix_condition.register(dist.IndependentHMM)
def _(d: Any, data: Tensor) -> Any:
    return dist.IndependentHMM(prefix_condition(d.base_dist, data.mT.unsqueeze(-1)))
