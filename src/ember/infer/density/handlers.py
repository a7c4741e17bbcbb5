"""Handlers that put a model at a row of coordinates, and that read the coordinates of constrained values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ember.distributions.delta import Delta
from ember.distributions.shapes import sum_rightmost
from ember.errors import ModelError
from ember.infer.autoguide.base.point import log_density_of
from ember.infer.autoguide.base.support import transform_of
from ember.infer.density.layout import Block
from ember.ops.scalars import total
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site, site_is_subsample

OBSERVED, UNOBSERVED = "_observed", "_unobserved"
"""How the names of the two sites of a partly observed one end."""


def is_open(site: Site) -> bool:
    """Whether a latent site still needs a value; plates, and sites that can take one value only, do not."""
    fixed = site_is_subsample(site) or isinstance(site.fn, Delta)
    return not (site.is_observed or site.done or site.value is not None or fixed)


class _AtSites(Messenger):
    """Acts at the latent sites that have a block.

    Args:
        blocks: by name.
        left: the names of latent sites that another handler gives their values.
    """

    def __init__(self, blocks: Mapping[str, Block], left: Collection[str]) -> None:
        super().__init__()
        self.blocks = blocks
        self.left = left
        self.seen: set[str] = set()

    def block_of(self, msg: Site) -> Block | None:
        """The block of a site, if it is one that needs a value.

        Raises:
            ModelError: for a latent site that the first run of the model did not have.
        """
        if not is_open(msg) or msg.name in self.left:
            return None
        block = self.blocks.get(msg.name)
        if block is None:
            raise ModelError(
                f"latent site {msg.name!r} was not there in the first run of the model, which has the latent sites "
                f"{list(self.blocks)}: a density needs the same sites at all rows. Use the same sites whatever their values "
                "are, with a mask for those that do not count."
            )
        self.seen.add(msg.name)
        return block

    def check_all_seen(self) -> None:
        """Raises ModelError if a site of the first run did not come up."""
        missing = [name for name in self.blocks if name not in self.seen]
        if missing:
            raise ModelError(
                f"latent sites {missing} are missing in this run of the model: a density needs the same sites at all rows. Use "
                "the same sites whatever their values are, with a mask for those that do not count."
            )


class Placed(_AtSites):
    """Puts latent sites at unconstrained values, mapped to the supports that they have in this run.

    ``sample(..., obs_mask=...)`` has a latent value for each event, and uses those only that are not observed. The others get a
    standard normal density in their coordinates: they would have none at all else, and nothing depends on them.

    Args:
        blocks: by name.
        values: unconstrained values by name.
        left: the names of latent sites that another handler gives their values.
    """

    def __init__(
        self, blocks: Mapping[str, Block], values: Mapping[str, Tensor], left: Collection[str]
    ) -> None:
        super().__init__(blocks, left)
        self.values = values
        self._jacobians: list[Any] = []
        self._given: dict[str, Any] = {}

    def log_jacobian(self) -> Any:
        """The log of the volume by which the maps stretch space."""
        return total(self._jacobians)

    def _pyro_sample(self, msg: Site) -> None:
        block = self.block_of(msg)
        if block is None:
            if msg.is_observed and msg.name.endswith(OBSERVED):
                self._given[msg.name.removesuffix(OBSERVED)] = msg.mask
            return
        transform = block.transform if block.fixed else transform_of(msg)
        unconstrained = self.values[msg.name]
        value = transform(unconstrained)
        if value.shape != block.shape:
            raise ModelError(
                f"the support of site {msg.name!r} gives it the shape {tuple(value.shape)} here, {tuple(block.shape)} in the "
                "first run of the model: it depends on an enumerated site, or shapes depend on values, and neither has a "
                "density in fixed coordinates."
            )
        log_density = log_density_of(transform, unconstrained, value, block.event_dim)
        given = self._given.get(msg.name.removesuffix(UNOBSERVED)) if msg.name.endswith(UNOBSERVED) else None
        if isinstance(given, Tensor):
            log_density = torch.where(
                given, _half_squares(unconstrained, value.dim() - block.event_dim), log_density
            )
        self._jacobians.append(-log_density.sum() if isinstance(log_density, Tensor) else -log_density)
        msg.value = value


def _half_squares(unconstrained: Tensor, batch_dims: int) -> Tensor:
    """Minus the log density of a standard normal, for each event."""
    squares = 0.5 * (unconstrained**2 + math.log(2 * math.pi))
    summed: Tensor = sum_rightmost(squares, squares.dim() - batch_dims)
    return summed


class Unconstraining(_AtSites):
    """Puts latent sites at constrained values, and notes their unconstrained values."""

    def __init__(
        self, blocks: Mapping[str, Block], values: Mapping[str, Tensor], left: Collection[str]
    ) -> None:
        super().__init__(blocks, left)
        self.values = values
        self.found: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Site) -> None:
        block = self.block_of(msg)
        if block is not None:
            value = self.values[msg.name]
            check_support(msg.name, msg.fn.support, value)
            self.found[msg.name] = transform_of(msg).inv(value)
            msg.value = value


class PlacedParameters(Messenger):
    """Gives parameters the values that their leaves would have at a row."""

    def __init__(self, blocks: Mapping[str, Block], values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.blocks = blocks
        self.values = values

    def _pyro_param(self, msg: Site) -> None:
        leaf = self.values.get(msg.name)
        if leaf is not None:
            value = self.blocks[msg.name].transform(leaf)
            value.unconstrained = lambda: leaf
            msg.value = value


def check_support(name: str, support: Any, value: Tensor) -> None:
    """Look whether constrained values are where a site can have them.

    Raises:
        ModelError: if some are not.
    """
    inside = support.check(value)
    if not bool(inside.all()):
        raise ModelError(
            f"values of site {name!r} are outside of its support, {support}: {int((~inside).sum())} of {inside.numel()}. "
            "Pass constrained values, such as density.constrain(u) returns."
        )
