"""Standard normal noise for many sites, in few draws, with the numbers that one draw for each site would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Size, Tensor

from ember.ops.normals import standard_normal

# torch draws fewer than 16 normal numbers on a CPU one by one, and more of them in blocks of 16, the last of which is drawn anew
# where it is not full.
_BLOCK = 16


def runs_of(sizes: Sequence[int]) -> list[range]:
    """Positions of consecutive draws that may be made as one without changing a number, on a CPU.

    >>> runs_of([1, 4, 12, 16, 32, 17])
    [range(0, 2), range(2, 3), range(3, 5), range(5, 6)]
    """
    runs: list[range] = []
    total = 0
    for position, size in enumerate(sizes):
        short = total > 0 and total + size < _BLOCK
        whole = total > 0 and total % _BLOCK == 0 and size % _BLOCK == 0
        if runs and size and (short or whole):
            runs[-1] = range(runs[-1].start, position + 1)
            total += size
        else:
            runs.append(range(position, position + 1))
            total = size
    return runs


@dataclass(frozen=True)
class _Place:
    shape: Size
    dtype: torch.dtype
    device: torch.device

    def draw(self, count: int) -> Tensor:
        return standard_normal(Size((count,)), dtype=self.dtype, device=self.device)


class Noise:
    """The noise of sites that follow each other in a guide; all of it is drawn when some is first asked for.

    On a CPU the numbers are those of one draw a site, in the guide's order. Other devices draw for all sites that are asked for
    together at once.
    """

    def __init__(self) -> None:
        self._places: dict[int, _Place] = {}
        self._runs: list[range] = []
        self._draws: list[Tensor] = []
        self._parts: list[Tensor] = []
        self._order: dict[int, int] = {}

    def reserve(self, position: int, shape: Size, like: Tensor) -> None:
        """Ask for noise for the site at a position of the guide."""
        assert not self._draws, "the noise has been drawn"
        self._places[position] = _Place(shape, like.dtype, like.device)

    def stacked(self, positions: Sequence[int]) -> Tensor:
        """The noise of sites of one shape, stacked along dim 0."""
        place = self._places[positions[0]]
        shape = (len(positions), *place.shape)
        if place.device.type != "cpu":
            return standard_normal(Size(shape), dtype=place.dtype, device=place.device)
        if not self._draws:
            self._draw()
        parts = self._whole_draws([self._order[position] for position in positions])
        if parts is None:
            parts = [self._parts[self._order[position]] for position in positions]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(shape)

    def _whole_draws(self, wanted: list[int]) -> list[Tensor] | None:
        """The draws that these sites share with no other; None if there are others."""
        starts = {run.start: position for position, run in enumerate(self._runs)}
        draws = [starts[index] for index in wanted if index in starts]
        complete = [index for draw in draws for index in self._runs[draw]] == wanted
        return [self._draws[draw] for draw in draws] if complete else None

    def _draw(self) -> None:
        ordered = sorted(self._places)
        places = [self._places[position] for position in ordered]
        sizes = [place.shape.numel() for place in places]
        self._order = {position: index for index, position in enumerate(ordered)}
        of_one_kind = len({(place.dtype, place.device) for place in places}) == 1
        self._runs = runs_of(sizes) if of_one_kind else [range(i, i + 1) for i in range(len(places))]
        for run in self._runs:
            parts = [sizes[index] for index in run]
            self._draws.append(places[run.start].draw(sum(parts)))
            self._parts += torch.split(self._draws[-1], parts)
