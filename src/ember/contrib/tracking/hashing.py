"""Neighbours among points, by hashing them into boxes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from numbers import Number
from typing import Any

import torch
from torch import Tensor

Box = tuple[int, ...]


def _check_radius(radius: Any) -> float:
    if not (isinstance(radius, Number) and radius > 0):  # type: ignore[operator]
        raise ValueError(f"radius must be float greater than 0, given: {radius}")
    return float(radius)  # type: ignore[arg-type]


def _box(point: Tensor, radius: float) -> Box:
    return tuple(map(int, (point / radius).round().tolist()))


class LSH:
    """Points by name, in boxes of a size: neighbours are in the same box or one that touches it.

    All points are found whose coordinates differ by less than ``radius``, and some by less than twice that.

    Args:
        radius: the size of a box.

    Raises:
        ValueError: if it is not positive.

    >>> lsh = LSH(1)
    >>> lsh.add("a", torch.tensor([0.0, 0.0]))
    >>> lsh.add("b", torch.tensor([0.9, 0.0]))
    >>> lsh.nearby("a")
    {'b'}
    """

    def __init__(self, radius: float) -> None:
        self._radius = _check_radius(radius)
        self._hash_to_key: defaultdict[Box, set[Any]] = defaultdict(set)
        self._key_to_hash: dict[Any, Box] = {}

    def _hash(self, point: Tensor) -> Box:
        return _box(point, self._radius)

    def add(self, key: Any, point: Tensor) -> None:
        """Add a point; one of that name is replaced.

        Args:
            key: the name.
            point: a vector.
        """
        if key in self._key_to_hash:
            self.remove(key)
        box = self._hash(point)
        self._key_to_hash[key] = box
        self._hash_to_key[box].add(key)

    def remove(self, key: Any) -> None:
        """Remove a point.

        Raises:
            KeyError: if there is none of that name.
        """
        box = self._key_to_hash.pop(key)
        self._hash_to_key[box].remove(key)

    def nearby(self, key: Any) -> set[Any]:
        """The names of the neighbours of a point.

        Raises:
            KeyError: if there is none of that name.
        """
        box = self._key_to_hash[key]
        found: set[Any] = set()
        for around in itertools.product(*((i - 1, i, i + 1) for i in box)):
            found |= self._hash_to_key.get(around, set())
        return found - {key}


class ApproxSet:
    """Boxes, each occupied by at most one point.

    Args:
        radius: the size of a box.

    Raises:
        ValueError: if it is not positive.
    """

    def __init__(self, radius: float) -> None:
        self._radius = _check_radius(radius)
        self._bins: set[Box] = set()

    def _hash(self, point: Tensor) -> Box:
        return _box(point, self._radius)

    def try_add(self, point: Tensor) -> bool:
        """Occupy the box of a point; False if it is occupied."""
        box = self._hash(point)
        if box in self._bins:
            return False
        self._bins.add(box)
        return True


def merge_points(points: Tensor, radius: float) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Merge the two nearest points, or middles of merged ones, until none are nearer than a distance.

    Args:
        points: of shape (K, D).
        radius: the distance.

    Returns:
        The merged points, (J, D), each the middle of the two it was merged from, and the indices of all.

    Raises:
        ValueError: if points are no matrix, or the radius is not positive.
    """
    if points.dim() != 2:
        raise ValueError(f"Expected points.shape == (K,D), but got {points.shape}")
    radius = _check_radius(radius)
    means = list(points)
    groups: list[tuple[int, ...]] = [(i,) for i in range(len(points))]
    while len(means) > 1:
        stacked = torch.stack(means)
        distances = torch.cdist(stacked, stacked)
        distances.fill_diagonal_(torch.inf)
        place = int(distances.argmin())
        i, j = sorted(divmod(place, len(means)))
        if not distances[i, j] < radius:
            break
        group = groups[i] + groups[j]
        mean = 0.5 * (means[i] + means[j])
        for index in (j, i):
            del means[index], groups[index]
        means.append(mean)
        groups.append(group)
    return torch.stack(means) if means else points, groups
