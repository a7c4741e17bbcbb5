"""Conditional independence: the base of plates."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import torch

from ember.poutine.frames import CondIndepStackFrame as CondIndepStackFrame
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.stack import PLATE_DIMS


class IndepMessenger(Messenger):
    """Declares sites independent, along a dim (``with``) or one after the other (``for``).

    Raises:
        ZeroDivisionError: for size 0.
        ValueError: if one plate is used both ways, or its dim is taken.
    """

    def __init__(self, name: str, size: int, dim: int | None = None, device: str | None = None) -> None:
        super().__init__()
        if isinstance(size, int) and size == 0:
            raise ZeroDivisionError(f"size cannot be zero (in plate {name!r})")
        self.name = name
        self.dim = dim
        self.size = size
        self.device = device
        self.counter = 0
        self._vectorized: bool | None = True if dim is not None else None
        self._indices: Any = None

    def is_repeatable(self) -> bool:
        """No: it has taken a dim, which is no attribute of its own."""
        return False

    def next_context(self) -> None:
        """Go on to the next iteration of a sequential plate."""
        self.counter += 1

    def __enter__(self) -> Self:
        if self._vectorized is None:
            self._vectorized = True
        if not self._vectorized:
            return super().__enter__()
        dim = PLATE_DIMS.allocate(self.name, self.dim)
        try:
            super().__enter__()
        except BaseException:
            PLATE_DIMS.free(self.name, dim)
            raise
        self.dim = dim
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._vectorized:
            assert self.dim is not None
            PLATE_DIMS.free(self.name, self.dim)
        super().__exit__(exc_type, exc_value, traceback)

    def __iter__(self) -> Iterator[int | float]:
        if self._vectorized or self.dim is not None:
            raise ValueError(
                f"cannot use plate {self.name} as both vectorized and non-vectorized independence context"
            )
        self._vectorized = False
        for index in self.indices:
            self.next_context()
            with self:
                if isinstance(index, torch.Tensor):
                    yield index.item()
                elif isinstance(index, (int, float)):
                    yield index
                else:
                    raise ValueError(
                        f"plate {self.name}: expected int, float or torch.Tensor as an index, but got {type(index)}"
                    )

    def _reset(self) -> None:
        if self._vectorized:
            assert self.dim is not None
            PLATE_DIMS.free(self.name, self.dim)
        self._vectorized = None
        self.counter = 0

    @property
    def indices(self) -> Any:
        """The indices of the plate: a tensor of integers, or what the user gave as ``subsample``."""
        if self._indices is None:
            self._indices = torch.arange(self.size, dtype=torch.long).to(self.device)
        return self._indices

    def _process_message(self, msg: Site) -> None:
        frame = CondIndepStackFrame(self.name, self.dim, self.size, self.counter)
        msg.cond_indep_stack = (frame, *msg.cond_indep_stack)
