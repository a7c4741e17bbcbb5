"""A record of iterates that stays small: every so many steps one is kept, and half of them are dropped when it is full."""

from __future__ import annotations

from torch import Tensor

_MOST, _FEWEST = 1024, 64
_BYTES = 1 << 28


class Iterates:
    """Iterates of one run at one rate.

    Args:
        every: how many steps lie between two iterates that are noted.

    >>> import torch
    >>> iterates = Iterates(every=10)
    >>> for step in range(2000):
    ...     iterates.note(torch.tensor([float(step)]))
    >>> len(iterates), iterates.every, iterates.steps
    (1000, 20, 20000)
    >>> iterates.rows[-1]
    tensor([1999.])
    """

    def __init__(self, every: int) -> None:
        self._first_every = every
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.every = self._first_every
        self._kept: Tensor | None = None
        self._size = 0
        self._noted = 0

    def note(self, row: Tensor) -> None:
        """Note the iterate ``(P,)`` after another :attr:`every` steps, as it was at first; it is copied.

        Raises:
            ValueError: if it has another length than those before.
        """
        if self._kept is None:
            capacity = max(_FEWEST, min(_MOST, _BYTES // max(1, row.numel() * row.element_size())))
            self._kept = row.new_empty((capacity, row.numel()))
        if row.shape != self._kept.shape[1:]:
            raise ValueError(f"an iterate has {row.numel()} entries, those before had {self._kept.shape[1]}")
        self._noted += 1
        if self._noted % (self.every // self._first_every):
            return
        if self._size == len(self._kept):
            # Those that stay are the ones that a record with twice the distance would have.
            self._size //= 2
            self._kept[: self._size] = self._kept[1::2].clone()
            self.every *= 2
            if self._noted % (self.every // self._first_every):
                return
        self._kept[self._size] = row
        self._size += 1

    @property
    def rows(self) -> Tensor:
        """Those that are kept, ``(n, P)``."""
        assert self._kept is not None
        return self._kept[: self._size]

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self._noted * self._first_every

    def __len__(self) -> int:
        return self._size
