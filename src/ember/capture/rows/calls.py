"""A call of a function over rows: its tensors in flat lists, those of rows first, and its results put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ember import tree

Instead = Callable[[Exception], Any]
"""The result at a row at which the function has failed; it may raise."""


@dataclass(frozen=True)
class Call:
    """The arguments of one call.

    Args:
        args: as they were given.
        by_row: which of them have a first dim for rows, in each of their tensors.
        asked: how many rows there are; by default as many as the tensors with rows have.

    Raises:
        ValueError: if no argument has rows and their number is not given, or numbers differ.
    """

    args: tuple[Any, ...]
    by_row: tuple[bool, ...]
    asked: int | None = None
    num_rows: int = field(init=False)
    rows: list[Tensor] = field(init=False)
    """All rows of each input that has them, contiguous."""
    shared: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        rows = [t for arg, own in self._pairs() if own for t in tree.tensors(arg)]
        shared = [t for arg, own in self._pairs() if not own for t in tree.tensors(arg)]
        known = () if self.asked is None else (self.asked,)
        if any(t.dim() == 0 for t in rows) or len(sizes := {*known, *(len(t) for t in rows)}) != 1:
            asked = "" if self.asked is None else f" and num_rows={self.asked}"
            raise ValueError(
                "all tensors with rows must have the same first dim, and there must be one; got the shapes "
                f"{[tuple(t.shape) for t in rows]}{asked}\nThe way out: in_dims=(0, None, ...) tells arguments with rows "
                "from others; num_rows=... says how many rows there are where no argument has them."
            )
        object.__setattr__(self, "num_rows", sizes.pop())
        object.__setattr__(self, "rows", [t.detach().contiguous() for t in rows])
        object.__setattr__(self, "shared", [t.detach() for t in shared])

    def _pairs(self) -> list[tuple[Any, bool]]:
        return list(zip(self.args, self.by_row, strict=True))

    def args_apart(self) -> list[Any]:
        """The arguments, of those with rows what is no tensor."""
        return [tree.map_tensors(lambda _: None, arg) if own else arg for arg, own in self._pairs()]

    def only(self, index: int) -> Call:
        """The call for one of its rows."""
        return self.between(index, index + 1)

    def between(self, start: int, stop: int) -> Call:
        """The call for some of its rows."""
        rows = [tensor[start:stop] for tensor in self.rows]
        return Call(tuple(self.arguments(rows, self.shared)), self.by_row, stop - start)

    def at(self, example: Sequence[Any]) -> Call:
        """The call for one row, given what stands there in the place of the arguments with rows."""
        row = [tensor[None] for tensor in tree.tensors(tuple(example))]
        return Call(tuple(self.arguments(row, self.shared)), self.by_row, 1)

    def row(self, index: int) -> list[Tensor]:
        """The tensors of one row, in memory of their own."""
        return [tensor[index].clone() for tensor in self.rows]

    def arguments(self, row: Sequence[Tensor], shared: Sequence[Tensor]) -> list[Any]:
        """The arguments with these tensors."""
        own, others = iter(row), iter(shared)
        return [tree.with_tensors(arg, own if by_row else others) for arg, by_row in self._pairs()]


@dataclass
class Results:
    """The results of all rows, row by row."""

    num_rows: int
    template: Any = None
    """The result of one row, for its structure."""
    tensors: list[Tensor] = field(default_factory=list)

    def prepare(self, template: Any, shapes: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> None:
        """Make room for results like one."""
        self.template = template
        self.tensors = [torch.empty((self.num_rows, *shape), dtype=dtype) for shape, dtype in shapes]

    def put(self, index: int, result: Any) -> None:
        """Take the result of a row.

        Raises:
            ValueError: if it is not like those of other rows.
        """
        found = leaves_of(result)
        if self.template is None:
            self.prepare(result, [(tuple(leaf.shape), leaf.dtype) for leaf in found])
        shapes = [tuple(tensor.shape[1:]) for tensor in self.tensors]
        if [tuple(leaf.shape) for leaf in found] != shapes:
            raise ValueError(
                f"row {index} has results of the shapes {[tuple(leaf.shape) for leaf in found]}, others {shapes}: all rows must "
                "have results of the same shapes"
            )
        for tensor, leaf in zip(self.tensors, found, strict=True):
            tensor[index] = leaf

    def together(self) -> Any:
        """The results of all rows, in the structure of one."""
        return tree.with_leaves(self.template, self.tensors)


def leaves_of(result: Any) -> list[Tensor]:
    """The tensors of a result; numbers become tensors."""
    return [torch.as_tensor(leaf).detach() for leaf in tree.leaves(result)]
