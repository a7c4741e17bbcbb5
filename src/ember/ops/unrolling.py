"""Einsum with plates by writing every row out: slow, never refused, and what :func:`ember.ops.contract.einsum` is held to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import opt_einsum
import torch
from torch import Tensor

from ember.ops.einsum import contract
from ember.ops.elimination import check_plates_are_sensible

__all__ = ["naive_ubersum"]

Row = Mapping[str, int]


def _sizes(inputs: Sequence[str], operands: Sequence[Tensor]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for dims, operand in zip(inputs, operands, strict=True):
        for dim, size in zip(dims, operand.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"Dimension size mismatch at dim '{dim}': {size} vs {sizes[dim]}")
    return sizes


def _rows(plates: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Row]:
    for places in itertools.product(*(range(sizes[plate]) for plate in plates)):
        yield dict(zip(plates, places, strict=True))


def _slice(tensor: Tensor, dims: str, row: Row) -> Tensor:
    return tensor[tuple(row[dim] if dim in row else slice(None) for dim in dims)]


class _Names:
    """A letter for every variable in every row of the plates that it is in."""

    def __init__(self, home: Mapping[str, frozenset[str]]) -> None:
        self.home = {dim: sorted(plates) for dim, plates in home.items()}
        self.letters: dict[tuple[str, tuple[int, ...]], str] = {}

    def __call__(self, dims: str, row: Row) -> str:
        named = ((dim, tuple(row[plate] for plate in self.home[dim])) for dim in dims if dim in self.home)
        return "".join(
            self.letters.setdefault(key, opt_einsum.get_symbol(len(self.letters))) for key in named
        )


def naive_ubersum(equation: str, *operands: Tensor, **kwargs: Any) -> tuple[Tensor, ...]:
    """The results of :func:`ember.ops.contract.ubersum`, from one factor for each row of each plate.

    Args:
        equation, plates, backend: as for :func:`ember.ops.contract.einsum`; sums are of logarithms unless a backend is named.

    Raises:
        ValueError: if a letter has two sizes, or an output has a letter without its plates.

    >>> naive_ubersum("ia->", torch.tensor([[1.0, 2.0], [3.0, 4.0]]).log(), plates="i")[0].exp()
    tensor(21.0000)
    """
    plates = frozenset(kwargs.pop("plates", ""))
    backend = kwargs.pop("backend", "ember.ops.einsum.torch_log")
    left, right = equation.split("->")
    inputs = left.split(",")
    sizes = _sizes(inputs, operands)
    home: dict[str, frozenset[str]] = {}
    for dims in inputs:
        for dim in set(dims) - plates:
            home[dim] = home.get(dim, plates) & plates.intersection(dims)
    names = _Names(home)
    letters, factors = [], []
    for dims, operand in zip(inputs, operands, strict=True):
        for row in _rows(sorted(plates.intersection(dims)), sizes):
            letters.append(names(dims, row))
            factors.append(_slice(operand, dims, row))

    def result(output: str) -> Tensor:
        for dim in sorted(set(output) - plates):
            check_plates_are_sensible({dim}, home[dim] - set(output))
        local = [dim for dim in output if dim in plates]
        flat = [
            contract(",".join(letters) + "->" + names(output, row), *factors, backend=backend)
            for row in _rows(local, sizes)
        ]
        rest = "".join(dim for dim in output if dim not in plates)
        shape = [sizes[dim] for dim in local] + [sizes[dim] for dim in rest]
        if not flat:
            return torch.empty(shape, dtype=operands[0].dtype, device=operands[0].device).permute(
                [(*local, *rest).index(dim) for dim in output]
            )
        stacked = torch.stack(flat).reshape(shape)
        return stacked.permute([(*local, *rest).index(dim) for dim in output])

    return tuple(result(output) for output in right.split(","))
