"""Methods that tell what a guide has learned: they read its parameters where it was fitted, whatever happened since."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch

from ember.poutine.handlers import block

P = ParamSpec("P")
T = TypeVar("T")


class Reader(Protocol):
    """What :func:`reading` asks of a guide."""

    def set_up_again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set up a guide whose parameters were loaded."""

    def parameters_at_hand(self) -> AbstractContextManager[None]:
        """Make the guide's own parameters those that it reads."""


G = TypeVar("G", bound=Reader)


def reading(method: Callable[Concatenate[G, P], T]) -> Callable[Concatenate[G, P], T]:
    """Let a method read the guide's parameters as a call of the guide does, without gradients and out of sight of handlers.

    What was loaded or assigned since the last call counts; so does the store in which the guide was fitted.

    Args:
        method: its arguments are those of the model.
    """
    return _reading(method, 0)


def reading_quantiles(method: Callable[Concatenate[G, P], T]) -> Callable[Concatenate[G, P], T]:
    """As :func:`reading`, for a method that has one argument before those of the model."""
    return _reading(method, 1)


def _reading(method: Callable[Concatenate[G, P], T], leading: int) -> Callable[Concatenate[G, P], T]:
    @functools.wraps(method)
    def read(self: G, *args: P.args, **kwargs: P.kwargs) -> T:
        with torch.no_grad(), self.parameters_at_hand():
            block(self.set_up_again)(args[leading:], kwargs)
            result: T = block(method)(self, *args, **kwargs)
        return result

    return read  # type: ignore[return-value]
