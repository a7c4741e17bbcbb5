"""Transforms without what does nothing: a parameter's value is computed in every statement of every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from torch import Tensor
from torch.distributions.transforms import AffineTransform, ComposeTransform, Transform

from ember.distributions.transforms.corr_cholesky import indexed

Map = Callable[[Tensor], Tensor]


class Uncached(Protocol):
    """What torch's transforms compute, without the look at their cache."""

    def _call(self, x: Tensor) -> Tensor:
        """The value at ``x``."""


def lean(transform: Transform) -> Map:
    """A function with the transform's values, bit for bit, and fewer operators.

    (Cholesky factors of correlation matrices are the exception: equal up to rounding, they are computed in a way that can be
    captured.)

    ``transform_to(positive)`` is ``0 + 1 * exp(x)``:

    >>> import torch
    >>> from torch.distributions import constraints, transform_to
    >>> lean(transform_to(constraints.positive))(torch.zeros(1, requires_grad=True))
    tensor([1.], grad_fn=<ExpBackward0>)
    """
    parts = [part for part in _flat(indexed(transform)) if not _is_identity(part)]
    if any(part._cache_size for part in parts):
        return cast(Map, transform)
    # Transform.__call__ looks after the cache and then does _call; an inverse, for one, has a way of its own.
    calls = [
        cast(Uncached, part)._call if type(part).__call__ is Transform.__call__ else cast(Map, part)
        for part in parts
    ]
    if len(calls) == 1:
        return calls[0]

    def call_all(x: Tensor) -> Tensor:
        for call in calls:
            x = call(x)
        return x

    return call_all


def _flat(transform: Transform) -> list[Transform]:
    if isinstance(transform, ComposeTransform):
        return [part for outer in transform.parts for part in _flat(outer)]
    return [transform]


def _is_identity(part: Transform) -> bool:
    if not isinstance(part, AffineTransform):
        return False
    numbers = isinstance(part.loc, (int, float)) and isinstance(part.scale, (int, float))
    return numbers and bool(part.loc == 0) and bool(part.scale == 1)
