"""What guides put at the model's sites: a point, with the log density that its transformation gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Size, Tensor
from torch.distributions.transforms import ComposeTransform, IndependentTransform, Transform

from ember.distributions.delta import Delta
from ember.distributions.shapes import sum_rightmost


class Point(Delta):
    """A :class:`Delta` that does not compare its own draw with itself."""

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The point, expanded."""
        return super().rsample(sample_shape) if len(sample_shape) else self.v

    def log_prob(self, x: Tensor) -> Tensor:
        """``log_density`` at the point, ``-inf`` elsewhere."""
        if x is self.v and self.log_density.shape == self.batch_shape:
            return self.log_density
        return super().log_prob(x)


def is_identity(transform: Transform) -> bool:
    """Whether a transform changes nothing, whatever its value: then its Jacobian is 1 and need not be computed."""
    if isinstance(transform, IndependentTransform):
        return is_identity(transform.base_transform)
    return isinstance(transform, ComposeTransform) and all(is_identity(part) for part in transform.parts)


def log_density_of(transform: Any, x: Tensor, y: Tensor, event_dim: int) -> Tensor | float:
    """The log density that ``y = transform(x)`` gains over ``x``: ``-log |dy/dx|``, one number an event.

    Args:
        transform: the bijection.
        x: unconstrained values.
        y: constrained values.
        event_dim: the number of event dims of ``y``.
    """
    if is_identity(transform):
        return 0.0
    log_density = -transform.log_abs_det_jacobian(x, y)
    summed: Tensor = sum_rightmost(log_density, log_density.dim() - y.dim() + event_dim)
    return summed


def point_at(transform: Any, unconstrained: Tensor, event_dim: int, with_density: bool) -> Point:
    """A point of the support, given where it is in unconstrained space.

    Args:
        transform: the bijection from there.
        unconstrained: where it is.
        event_dim: the number of event dims of the site.
        with_density: whether the log density is asked for; it is 0 otherwise.
    """
    value = transform(unconstrained)
    log_density = log_density_of(transform, unconstrained, value, event_dim) if with_density else 0.0
    return Point(value, log_density=log_density, event_dim=event_dim)


def points_together(
    transform: Any, stacked: Tensor, values: Sequence[Tensor], event_dim: int, with_density: bool
) -> list[Point]:
    """The points of sites that share shape and support, mapped in one go.

    Args:
        transform: the bijection to their support.
        stacked: their unconstrained values, one after the other along the first dim.
        values: the same, taken apart.
        event_dim: the number of event dims of the sites.
        with_density: whether log densities will be asked for.
    """
    constrained = transform(stacked)
    images = values if is_identity(transform) else constrained.unbind(0)
    log_density: Any = 0.0
    if with_density:
        log_density = log_density_of(transform, stacked, constrained, event_dim)
    batch_shape = Size(constrained.shape[: constrained.dim() - event_dim])
    if isinstance(log_density, Tensor):
        densities = log_density.expand(batch_shape).unbind(0)
    else:
        densities = (stacked.new_zeros(batch_shape[1:]),) * len(values)
    return [Point(image, density, event_dim) for image, density in zip(images, densities, strict=True)]
