"""Small helpers that programs import from Pyro's ``util`` modules and that Ember's own code has no use for."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

import torch

from ember.ops.tracing import ignore_jit_warnings as ignore_jit_warnings
from ember.ops.tracing import jit_iter as jit_iter

T = TypeVar("T")


class ExperimentalWarning(UserWarning):
    """Issued by features whose interface may change."""


@contextlib.contextmanager
def ignore_experimental_warning() -> Iterator[None]:
    """Silence :class:`ExperimentalWarning` for the length of a ``with`` block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


class optional:
    """The context manager if the condition holds, else one that does nothing.

    >>> with optional(contextlib.suppress(ZeroDivisionError), True):
    ...     1 / 0
    """

    def __init__(self, context_manager: AbstractContextManager[Any], condition: object) -> None:
        self.context_manager = context_manager if condition else contextlib.nullcontext()

    def __enter__(self) -> Any:
        return self.context_manager.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self.context_manager.__exit__(kind, error, trace)


class timed:
    """Measures the seconds that a ``with`` block takes, as ``elapsed``."""

    def __enter__(self) -> timed:
        self.start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end = time.perf_counter()
        self.elapsed = self.end - self.start


def torch_float(x: torch.Tensor | float) -> torch.Tensor | float:
    """A tensor as float32, a number as a Python float."""
    return x.float() if isinstance(x, torch.Tensor) else float(x)


def weakmethod(fn: Callable[..., T]) -> Callable[..., T]:
    """A method whose bound form does not keep its object alive.

    Raises:
        ReferenceError: at a call after the object is gone.
    """

    class Weak:
        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return fn
            reference = weakref.ref(instance)

            @functools.wraps(fn)
            def bound(*args: object, **kwargs: object) -> T:
                alive = reference()
                if alive is None:
                    raise ReferenceError(f"the object of the weak method {fn.__name__!r} is gone")
                return fn(alive, *args, **kwargs)

            return bound

    return Weak()  # type: ignore[return-value]


def copy_docs_from(source_class: type, full_text: bool = False) -> Callable[[type[T]], type[T]]:
    """A class decorator that gives public members without a docstring that of the same member of ``source_class``.

    Args:
        source_class: the class to take docstrings from.
        full_text: copy the text itself instead of a reference to it.
    """

    def decorate(target: type[T]) -> type[T]:
        for name in (name for name in dir(target) if not name.startswith("_")):
            member = getattr(target, name)
            member = getattr(member, "__func__", member)
            text = getattr(getattr(source_class, name, None), "__doc__", None)
            if text and not getattr(member, "__doc__", None):
                # A member whose docstring cannot be set, such as a property of a C class, is left as it is.
                with contextlib.suppress(AttributeError, TypeError):
                    member.__doc__ = (
                        text
                        if full_text
                        else f"See :meth:`{source_class.__module__}.{source_class.__name__}.{name}`"
                    )
        return target

    return decorate
