"""Where each latent site lies in a row of unconstrained coordinates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor

from ember.infer.autoguide.base.support import family, transform_of
from ember.ops.entries import labels
from ember.ops.in_double import InDouble
from ember.poutine.site import Site


@dataclass(frozen=True)
class Program:
    """A model with its arguments."""

    model: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    in_double: bool = False
    """Whether it computes in float64 whatever it was written for."""

    def precision(self) -> AbstractContextManager[object]:
        """What is active while it runs, and while its densities are evaluated."""
        return InDouble() if self.in_double else nullcontext()


@dataclass(frozen=True)
class Block:
    """One latent site, or one parameter, and its part of a row."""

    name: str
    unconstrained_shape: Size
    shape: Size
    """Of constrained values."""
    transform: Any
    """From unconstrained values to the support, as it was in the first run of the model."""
    support: Any
    """The constraint that constrained values satisfy."""
    event_dim: int
    """How many of the constrained dims are those of one event."""
    slice: slice
    """Which coordinates of a row are its own."""
    dtype: torch.dtype
    fixed: bool = True
    """Whether the support is the same at all rows; if not, it is asked of the model at each."""

    def take(self, row: Tensor) -> Tensor:
        """Its unconstrained values of a row, or of many: ``[..., D]`` to ``[..., *unconstrained_shape]``."""
        part = row[..., self.slice]
        return part.reshape(row.shape[:-1] + self.unconstrained_shape).to(self.dtype)

    def labels(self) -> list[str]:
        """The names of its coordinates: ``mu``, or ``theta[3]``, ``b[1,2]``."""
        return labels(self.name, self.unconstrained_shape)


def site_block(site: Site, start: int) -> Block:
    """The block of a latent site that begins at a coordinate.

    Raises:
        ValueError: if its support has no bijection from unconstrained space.
    """
    transform = transform_of(site)
    unconstrained: Tensor = transform.inv(site.value.detach())
    stop = start + unconstrained.numel()
    return Block(
        site.name,
        unconstrained.shape,
        site.value.shape,
        transform,
        site.fn.support,
        site.fn.event_dim,
        slice(start, stop),
        unconstrained.dtype,
        family(site.fn.support) is not None,
    )
