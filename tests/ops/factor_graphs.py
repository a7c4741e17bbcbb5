"""Random plated factor graphs, and all that can be asked of them by writing the joint table out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Variable = tuple[str, tuple[int, ...]]


@dataclass
class FactorGraph:
    """Factors in log space with a letter for each dim.

    Attributes:
        inputs: the letters of each factor.
        plates: the letters that are plates.
        sizes: by letter.
        home: the plates that each variable is in.
    """

    inputs: list[str]
    plates: str
    sizes: dict[str, int]
    home: dict[str, str]

    @property
    def equation(self) -> str:
        return ",".join(self.inputs) + "->"

    def operands(self, dtype: torch.dtype = torch.float64, zeros: float = 0.0) -> list[Tensor]:
        factors = [torch.randn([self.sizes[d] for d in dims], dtype=dtype) for dims in self.inputs]
        return [x.masked_fill(torch.rand_like(x) < zeros, -torch.inf) for x in factors]

    def rows(self, plates: str) -> Iterator[dict[str, int]]:
        for places in itertools.product(*(range(self.sizes[plate]) for plate in plates)):
            yield dict(zip(plates, places, strict=True))

    def variables(self) -> list[Variable]:
        """Every copy of every variable that some factor has."""
        return [(v, tuple(row.values())) for v in self.used() for row in self.rows(self.home[v])]

    def used(self) -> list[str]:
        return sorted(set("".join(self.inputs)) - set(self.plates))

    def entries(self) -> int:
        total = 1
        for name, _ in self.variables():
            total *= self.sizes[name]
        return total

    def slices(self, dims: str) -> Iterator[tuple[dict[str, int], list[Variable]]]:
        """The rows of a factor, and the variables that it has there."""
        for row in self.rows("".join(d for d in dims if d in self.plates)):
            own = [d for d in dims if d not in self.plates]
            yield row, [(v, tuple(row[plate] for plate in self.home[v])) for v in own]

    def joint(self, operands: list[Tensor]) -> Tensor:
        """The log weight of every assignment: an axis for each of ``variables()``."""
        axes = {variable: axis for axis, variable in enumerate(self.variables())}
        table = torch.zeros([self.sizes[name] for name, _ in axes], dtype=operands[0].dtype)
        for dims, operand in zip(self.inputs, operands, strict=True):
            for row, own in self.slices(dims):
                part = operand[tuple(row.get(d, slice(None)) for d in dims)]
                order = sorted(range(len(own)), key=lambda place: axes[own[place]])
                part = part.permute(order)
                shape = [1] * table.dim()
                for place in order:
                    shape[axes[own[place]]] = self.sizes[own[place][0]]
                table = table + part.reshape(shape)
        return table


def random_graphs(count: int, seed: int, most_entries: int = 4096) -> Iterator[FactorGraph]:
    """Graphs whose plates nest like a tree: none, one, two in each other, or two side by side."""
    rng = random.Random(seed)
    nestings = [[""], ["", "i"], ["i"], ["", "i", "ij"], ["", "i", "j"], ["i", "ij"]]
    while count:
        places = rng.choice(nestings)
        home = {v: rng.choice(places) for v in "abcd"[: rng.randint(1, 4)]}
        sizes = {d: rng.randint(1, 3) for d in "abcdij"}
        inputs = []
        for _ in range(rng.randint(1, 6)):
            inner = rng.choice(places)
            visible = [v for v in home if set(home[v]) <= set(inner)]
            own = rng.sample(visible, min(len(visible), rng.randint(0, 3)))
            # A factor is in all plates of its variables; one that is in more has them in the letters.
            dims = [*own, *inner]
            rng.shuffle(dims)
            inputs.append("".join(dims))
        # A variable is where all its factors are.
        seen: dict[str, set[str]] = {}
        for dims in inputs:
            for v in set(dims) - set("ij"):
                seen[v] = seen.get(v, set("ij")) & set(dims)
        if any("".join(sorted(seen[v])) != home[v] for v in seen):
            continue
        graph = FactorGraph(inputs, "ij", sizes, home)
        if graph.entries() <= most_entries and len(graph.variables()) <= 20:
            count -= 1
            yield graph
