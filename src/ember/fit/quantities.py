"""What is to be known of a posterior: each entry of each site, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from ember.infer.density.density import Density
from ember.ops.entries import Scalars, labels_of

_MOST_NUMBERS = 1 << 25


class SitesAtRows(Protocol):
    """Sites, at rows of coordinates."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the entries of all sites."""

    def sites(self, u: Tensor) -> dict[str, Tensor]:
        """Values by site at rows ``(S, D)``."""


@dataclass(frozen=True)
class SiteValues:
    """Which sites are known at rows of coordinates, and how their entries lie beside each other.

    Attributes:
        density: whose rows they are.
        shapes: of the sites, in order.
    """

    density: Density
    shapes: Mapping[str, torch.Size]

    @classmethod
    def of(cls, density: Density, draws: int) -> SiteValues:
        """All sites of a model that are no data; without deterministic ones if so many draws of them would not fit.

        Args:
            density: of the model.
            draws: how many rows there will be.
        """
        values = density.constrain(density.start.unsqueeze(0))
        shapes = {name: value.shape[1:] for name, value in values.items()}
        if draws * sum(map(prod, shapes.values())) > _MOST_NUMBERS:
            latent = {block.name for block in (*density.layout, *density.param_layout)}
            shapes = {name: shape for name, shape in shapes.items() if name in latent}
        return cls(density, shapes)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the entries."""
        return labels_of(self.shapes)

    def sites(self, u: Tensor) -> dict[str, Tensor]:
        """Values by site at rows ``(S, D)``."""
        values = self.density.constrain(u)
        return {name: values[name] for name in self.shapes}

    def __call__(self, u: Tensor) -> Tensor:
        """Values of all entries at rows: shape ``(S, Q)``."""
        return Scalars.of(self.sites(u)).values
