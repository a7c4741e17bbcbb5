"""Transforms with parameters of another shape: laid out otherwise, or of a part of the times."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

from torch import Tensor
from torch.distributions import transforms
from torch.distributions.transforms import ComposeTransform, Transform

from ember.distributions.transforms import DiscreteCosineTransform, HaarTransform

Shape = tuple[int, ...]
_Inverse = transforms._InverseTransform

UNIVARIATE_TRANSFORMS: dict[type, tuple[str, ...]] = {
    transforms.AbsTransform: (),
    transforms.AffineTransform: ("loc", "scale", "event_dim"),
    transforms.ExpTransform: (),
    transforms.PowerTransform: ("exponent",),
    transforms.SigmoidTransform: (),
    transforms.SoftplusTransform: (),
    transforms.TanhTransform: (),
}
"""Elementwise transforms, and what makes one again."""


def _with_parameters(t: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same elementwise transform, of other tensors."""
    values = {name: getattr(t, name) for name in UNIVARIATE_TRANSFORMS[type(t)]}
    changed = {name: change(value) if isinstance(value, Tensor) else value for name, value in values.items()}
    return type(t)(**changed, cache_size=t._cache_size)


@singledispatch
def reshape_transform_batch(t: Transform, old_shape: Shape, new_shape: Shape) -> Transform:
    """The same transform for values of another shape with as many elements; a new type is registered as with
    :func:`functools.singledispatch`.

    Args:
        t: a transform.
        old_shape: of the values so far.
        new_shape: of the values to come.

    Raises:
        NotImplementedError: for a transform whose parameters are not known.

    >>> import torch
    >>> t = transforms.AffineTransform(torch.zeros(3), 2.0)
    >>> reshape_transform_batch(t, (3,), (3, 1)).loc.shape
    torch.Size([3, 1])
    """
    raise NotImplementedError(
        f"reshape_transform_batch() does not support {type(t).__name__}; there are "
        f"{', '.join(kind.__name__ for kind in UNIVARIATE_TRANSFORMS)}, and what is registered"
    )


@reshape_transform_batch.register(_Inverse)
def _(t: Any, old_shape: Shape, new_shape: Shape) -> Any:
    return reshape_transform_batch(t.inv, old_shape, new_shape).inv


@reshape_transform_batch.register(ComposeTransform)
def _(t: ComposeTransform, old_shape: Shape, new_shape: Shape) -> ComposeTransform:
    return ComposeTransform([reshape_transform_batch(part, old_shape, new_shape) for part in t.parts])


@reshape_transform_batch.register(DiscreteCosineTransform)
@reshape_transform_batch.register(HaarTransform)
def _(t: Any, old_shape: Shape, new_shape: Shape) -> Any:
    dims = t.domain.event_dim
    if tuple(old_shape[-dims:]) != tuple(new_shape[-dims:]):
        raise NotImplementedError(
            f"reshape_transform_batch(): {type(t).__name__} mixes the last {dims} dims, and they change from "
            f"{tuple(old_shape[-dims:])} to {tuple(new_shape[-dims:])}"
        )
    return t


def _elementwise(t: Any, old_shape: Shape, new_shape: Shape) -> Any:
    return _with_parameters(t, lambda value: value.expand(old_shape).reshape(new_shape))


for _kind in UNIVARIATE_TRANSFORMS:
    reshape_transform_batch.register(_kind)(_elementwise)


def at_times(t: Any, shape: Shape, start: int, end: int) -> Any:
    """The same transform for a part of the times.

    Args:
        t: a transform.
        shape: of the values so far, with the time on dim -2.
        start: the first of the times that are left.
        end: the time after the last one.

    Raises:
        NotImplementedError: if the transform mixes times.
    """
    if isinstance(t, _Inverse):
        return at_times(t.inv, shape, start, end).inv
    if isinstance(t, ComposeTransform):
        return ComposeTransform([at_times(part, shape, start, end) for part in t.parts])
    if type(t) in UNIVARIATE_TRANSFORMS:
        return _with_parameters(t, lambda value: value.expand(shape)[..., start:end, :])
    if t.domain.event_dim >= 2:
        raise NotImplementedError(
            f"prefix_condition(): {type(t).__name__} mixes times before and after the last"
        )
    return t
