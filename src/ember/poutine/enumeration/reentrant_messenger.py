"""Handlers that may be entered again while they are active."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from ember.poutine.messenger import Messenger


class ReentrantMessenger(Messenger):
    """A handler that takes one place on the stack, however often it is entered, and leaves it at the last exit."""

    def __init__(self) -> None:
        super().__init__()
        self._ref_count = 0

    def is_repeatable(self) -> bool:
        """No: it counts its entries."""
        return False

    def __call__(self, fn: Callable[..., Any]) -> Any:
        return functools.update_wrapper(super().__call__(fn), fn, updated=())

    def __enter__(self) -> Self:
        if self._ref_count == 0:
            super().__enter__()
        self._ref_count += 1
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ref_count -= 1
        if self._ref_count == 0:
            super().__exit__(exc_type, exc_value, traceback)
