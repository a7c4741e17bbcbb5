"""The base of all handlers, and the callables that handlers make."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from ember.poutine.runtime import THREAD
from ember.poutine.site import Site


class Handled:
    """A function under a handler: entering the handler, calling the function, leaving the handler.

    It works as a method too: bound to an instance, it passes the instance on to the function.
    """

    def __init__(self, messenger: Messenger, fn: Callable[..., Any]) -> None:
        self.msngr = messenger
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.msngr:
            return self.fn(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def unwrap(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function under all its handlers."""
    while isinstance(fn, Handled):
        fn = fn.fn
    return fn


class Messenger:
    """Base of handlers, itself without effect.

    A handler is a context manager, and a decorator when called with a function. Subclasses define ``_pyro_<type>(msg)`` to act
    before a site of that type is settled, ``_pyro_post_<type>(msg)`` to act after it, or override ``_process_message`` and
    ``_postprocess_message`` to act on all.

        >>> import ember
        >>> class Shout(Messenger):
        ...     def _pyro_sample(self, msg):
        ...         print("sampling", msg["name"])
        >>> with Shout():
        ...     _ = ember.sample("x", ember.distributions.Normal(0.0, 1.0))
        sampling x
    """

    def __call__(self, fn: Callable[..., Any]) -> Any:
        if not callable(fn):
            raise ValueError(f"{fn!r} is not callable, did you mean to pass it as a keyword arg?")
        return Handled(self, fn)

    def __enter__(self) -> Self:
        stack = THREAD.stack
        if self in stack:
            raise ValueError("cannot install a Messenger instance twice")
        stack.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stack = THREAD.stack
        if exc_type is None:
            if not stack or stack[-1] is not self:
                raise ValueError("This Messenger is not on the bottom of the stack")
            stack.pop()
        elif self in stack:
            # An error may have left handlers inside of this one behind.
            del stack[stack.index(self) :]

    def _reset(self) -> None:
        """Forget the run so far; called when a nonlocal exit starts it anew."""

    def _process_message(self, msg: Site) -> None:
        method = getattr(self, "_pyro_" + msg["type"], None)
        if method is not None:
            method(msg)

    def _postprocess_message(self, msg: Site) -> None:
        method = getattr(self, "_pyro_post_" + msg["type"], None)
        if method is not None:
            method(msg)

    @classmethod
    def register(
        cls, fn: Callable[..., Any] | None = None, type: str | None = None, post: bool | None = None
    ) -> Callable[..., Any]:
        """Add a function as this class's action on messages of ``type``; works as a decorator.

        Raises:
            ValueError: if no type is given.
        """
        if fn is None:
            return functools.partial(cls.register, type=type, post=post)
        if type is None:
            raise ValueError("An operation type name must be provided")
        setattr(cls, ("_pyro_post_" if post else "_pyro_") + type, staticmethod(fn))
        return fn

    @classmethod
    def unregister(
        cls, fn: Callable[..., Any] | None = None, type: str | None = None
    ) -> Callable[..., Any] | None:
        """Remove what :meth:`register` added for ``type``.

        Raises:
            ValueError: if no type is given.
        """
        if type is None:
            raise ValueError("An operation type name must be provided")
        for method in ("_pyro_post_" + type, "_pyro_" + type):
            if method in vars(cls):
                delattr(cls, method)
        return fn


@contextmanager
def block_messengers(predicate: Callable[[Messenger], bool]) -> Iterator[list[Messenger]]:
    """Mute the active handlers for which ``predicate`` holds, without leaving them; yields those."""
    stack = THREAD.stack
    muted = {index: handler for index, handler in enumerate(stack) if predicate(handler)}
    for index in muted:
        stack[index] = Messenger()
    try:
        yield list(muted.values())
    finally:
        for index, handler in muted.items():
            stack[index] = handler
