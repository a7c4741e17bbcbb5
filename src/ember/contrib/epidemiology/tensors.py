"""Operations on tensors of which one may be a number, and on draws of several sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ember import poutine
from ember.distributions.shapes import broadcast_shape

Number = float | Tensor


def clamp(tensor: Tensor, *, min: Number | None = None, max: Number | None = None) -> Tensor:
    """As :func:`torch.clamp`, with bounds of which one may be a tensor and the other a number.

    >>> clamp(torch.tensor([-1.0, 5.0]), min=0, max=torch.tensor([1.0, 2.0]))
    tensor([0., 2.])
    """
    for bound, by_number, by_tensor in (
        (min, torch.clamp_min, torch.maximum),
        (max, torch.clamp_max, torch.minimum),
    ):
        if isinstance(bound, Tensor):
            tensor = by_tensor(tensor, bound)
        elif bound is not None:
            tensor = by_number(tensor, bound)
    return tensor


def cat2(lhs: Number, rhs: Number, *, dim: int = -1) -> Tensor:
    """One after the other along a dim; other dims broadcast, and a number stands for one entry of it.

    Args:
        lhs: what comes first.
        rhs: what follows; at least one of both is a tensor.
        dim: negative.

    Raises:
        AssertionError: for another dim, or two numbers.

    >>> cat2(0, torch.tensor([1.0, 2.0]))
    tensor([0., 1., 2.])
    """
    assert dim < 0, f"dim counts from the right, and is not {dim}"
    elsewhere = (0, 0) * (-1 - dim)
    if isinstance(lhs, Tensor) and isinstance(rhs, Tensor):
        depth = max(lhs.dim(), rhs.dim())
        both = [x.reshape((1,) * (depth - x.dim()) + x.shape) for x in (lhs, rhs)]
        shape = list(broadcast_shape(*(_without(x, dim) for x in both)))
        shape[dim] = -1
        return torch.cat([x.expand(shape) for x in both], dim)
    if isinstance(rhs, Tensor):
        return pad(rhs, (*elsewhere, 1, 0), value=float(lhs))
    assert isinstance(lhs, Tensor), f"one of both is a tensor, and not {lhs!r} and {rhs!r}"
    return pad(lhs, (*elsewhere, 0, 1), value=float(rhs))


def _without(x: Tensor, dim: int) -> tuple[int, ...]:
    """The shape, with size 1 at a dim."""
    shape = list(x.shape)
    shape[dim] = 1
    return tuple(shape)


@torch.no_grad()
def align_samples(
    samples: Mapping[str, Tensor], model: Callable[[], Any], particle_dim: int
) -> dict[str, Tensor]:
    """Draws with their first dim moved to ``particle_dim`` of the batch, by dims of size 1 after it.

    Args:
        samples: values by site, stacked along the first dim.
        model: a program that has these sites; it is run once, to see their event dims.
        particle_dim: negative; left of all plates.

    Raises:
        AssertionError: if ``particle_dim`` is not negative.
        ValueError: if a site has more dims than fit.
    """
    assert particle_dim < 0, f"particle_dim counts from the right, and is not {particle_dim}"
    first = {name: value[0] for name, value in samples.items()}
    with poutine.block(), poutine.trace() as recorded, poutine.condition(data=first):
        model()
    aligned = {}
    for name, value in samples.items():
        missing = recorded.trace.nodes[name].fn.event_dim - particle_dim - value.dim()
        if missing < 0:
            raise ValueError(
                f"Cannot align samples, try moving particle_dim left: site {name!r} of shape "
                f"{tuple(value.shape)} has {-missing} dims too many for particle_dim={particle_dim}"
            )
        aligned[name] = value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:])
    return aligned
