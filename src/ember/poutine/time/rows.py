"""The rows of a tensor, one for each step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

FIRST_STEPS = 2
"""How many steps run before it is looked at whether the others can run at once."""


class Rows:
    """Rows along dim 0; those of the first steps without making the others.

    Args:
        whole: the tensor, with the steps along dim 0.
    """

    def __init__(self, whole: Tensor) -> None:
        self.whole = whole
        self._first: dict[int, Tensor] = {}
        self._rows: Sequence[Tensor] = ()

    def __getitem__(self, time: int) -> Tensor:
        if time < FIRST_STEPS:
            if time not in self._first:
                self._first[time] = self.whole.select(0, time)
            return self._first[time]
        # One operator for all rows, whose gradient is one too.
        self._rows = self._rows or self.whole.unbind(0)
        return self._rows[time]
