"""Parameters side by side in one flat buffer, so that one update serves them all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Size, Tensor

# Larger parameters are updated by themselves: putting them side by side would cost more than it saves.
LARGEST_MEMBER = 4096


def alike(params: Sequence[Tensor]) -> list[list[int]]:
    """Which of the parameters, all of one dtype and device, are updated together; those of equal shape adjoin.

    >>> alike([torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(5000)])
    [[3], [0, 2, 1]]
    """
    by_shape: dict[torch.Size, list[int]] = {}
    alone: list[list[int]] = []
    for index, param in enumerate(params):
        if param.numel() > LARGEST_MEMBER or param.is_complex():
            alone.append([index])
        else:
            by_shape.setdefault(param.shape, []).append(index)
    together = [index for members in by_shape.values() for index in members]
    return [*alone, together] if together else alone


class Block:
    """How parameters of these shapes lie in a flat buffer; a single one lies there as it is.

    Parameters of equal shape that follow each other are put side by side, and taken apart, by one operator.

    >>> block = Block([Size([2]), Size([2]), Size([])])
    >>> flat = block.gather([torch.ones(2), torch.zeros(2), torch.tensor(5.0)])
    >>> flat
    tensor([1., 1., 0., 0., 5.])
    >>> block.spread(torch.tensor([1.0, 2.0, 3.0]))
    tensor([1., 1., 2., 2., 3.])
    >>> block.pieces(flat)
    [tensor([1., 1.]), tensor([0., 0.]), tensor(5.)]
    """

    def __init__(self, shapes: Sequence[Size]) -> None:
        self.shapes = tuple(shapes)
        self.runs = [(shape, len(list(members))) for shape, members in groupby(shapes)]
        self.is_single = len(shapes) == 1
        self._sizes = [count * shape.numel() for shape, count in self.runs]
        self._counts = [count for _, count in self.runs]

    @property
    def numel(self) -> int:
        """How many entries there are."""
        return sum(self._sizes)

    def stacks(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors of each run, stacked along a first dim; a single tensor as it is."""
        if self.is_single:
            return list(tensors)
        remaining = iter(tensors)
        return [torch.stack([next(remaining) for _ in range(count)]) for count in self._counts]

    def join(self, stacks: Sequence[Tensor]) -> Tensor:
        """One flat buffer of the stacks of all runs."""
        if self.is_single:
            return stacks[0]
        rows = [stack.reshape(-1) for stack in stacks]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def gather(self, tensors: Sequence[Tensor]) -> Tensor:
        """One flat buffer of these tensors."""
        return self.join(self.stacks(tensors))

    def gather_numbers(self, numbers: Sequence[Tensor]) -> Tensor:
        """One vector of one number for each parameter; the number itself for a single one."""
        return numbers[0] if self.is_single else torch.stack(list(numbers))

    def spread(self, numbers: Tensor) -> Tensor:
        """One number for each entry, from one for each parameter."""
        if self.is_single or self._sizes == self._counts:
            return numbers
        parts = zip(torch.split(numbers, self._counts), self.runs, strict=True)
        rows = [part.unsqueeze(1).expand(count, shape.numel()) for part, (shape, count) in parts]
        return self.join(rows)

    def pieces(self, flat: Tensor) -> list[Tensor]:
        """Views of the parameters in a flat buffer."""
        if self.is_single:
            return [flat]
        rows = torch.split(flat, self._sizes) if len(self.runs) > 1 else (flat,)
        return [
            piece
            for row, (shape, count) in zip(rows, self.runs, strict=True)
            for piece in row.view(count, *shape).unbind(0)
        ]

    def number_pieces(self, numbers: Tensor) -> list[Tensor]:
        """Views of the numbers in a vector of one for each parameter."""
        return [numbers] if self.is_single else list(numbers.unbind(0))
