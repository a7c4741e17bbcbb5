"""Scalars of sites: each entry of a site's value is a quantity with a name of its own, such as ``b[1,2]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


def labels(name: str, shape: Iterable[int]) -> list[str]:
    """Names of the entries of a value.

    >>> labels("mu", ())
    ['mu']
    >>> labels("b", (2, 1))
    ['b[0,0]', 'b[1,0]']
    """
    ranges = [range(size) for size in shape]
    if not ranges:
        return [name]
    return [f"{name}[{','.join(map(str, index))}]" for index in product(*ranges)]


def labels_of(shapes: Mapping[str, Iterable[int]]) -> tuple[str, ...]:
    """Names of the entries of all sites, in order, from the shapes of their values."""
    return tuple(label for name, shape in shapes.items() for label in labels(name, shape))


@dataclass(frozen=True)
class Scalars:
    """Values of all entries of all sites, one row a draw.

    >>> scalars = Scalars.of({"mu": torch.zeros(4), "b": torch.ones(4, 2)})
    >>> scalars.names, scalars.values.shape
    (('mu', 'b[0]', 'b[1]'), torch.Size([4, 3]))
    """

    names: tuple[str, ...]
    values: Tensor
    """Shape ``(draws, len(names))``, float64."""

    @classmethod
    def of(cls, draws: Mapping[str, Tensor]) -> Scalars:
        """Put the sites beside each other.

        Args:
            draws: values by site, draws along dim 0.

        Raises:
            ValueError: for sites of different numbers of draws.
        """
        sizes = {name: len(value) for name, value in draws.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"all sites must have the same number of draws along dim 0, got {sizes}")
        names = labels_of({name: value.shape[1:] for name, value in draws.items()})
        parts = [value.detach().reshape(len(value), -1).double() for value in draws.values()]
        return cls(names, torch.cat(parts, -1) if parts else torch.zeros(0, 0, dtype=torch.float64))
