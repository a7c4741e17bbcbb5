"""The base of all handlers, the callables that handlers make, and how a statement runs through the handlers of its thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from ember.capture.recording.provenance import works_for
from ember.poutine.site import Site
from ember.poutine.stack import THREAD

P = ParamSpec("P")
T = TypeVar("T")


class Handled:
    """A function under a handler: entering the handler, calling the function, leaving the handler.

    It works as a method too: bound to an instance, it passes the instance on to the function.
    """

    def __init__(self, msngr: Messenger, fn: Callable[..., Any]) -> None:
        self.msngr = msngr
        self.fn = fn

    def __call__(self, *args: object, **kwargs: object) -> Any:
        with self.msngr:
            return self.fn(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def unwrap(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function under all its handlers.

    Args:
        fn: a program, with handlers or without.
    """
    while isinstance(fn, Handled):
        fn = fn.fn
    return fn


class Messenger:
    """Acts on the statements of a program that runs inside of it; the base of handlers.

    It does nothing itself.

    A handler is a context manager, and a decorator when called with a function. Subclasses define
    ``_pyro_<type>(msg)`` to act before a site of that type is settled, ``_pyro_post_<type>(msg)`` to act
    after it, or override ``_process_message`` and ``_postprocess_message`` to act on all.

        >>> import ember
        >>> from ember.poutine import Messenger
        >>> class Shout(Messenger):
        ...     def _pyro_sample(self, msg):
        ...         print("sampling", msg["name"])
        >>> with Shout():
        ...     _ = ember.sample("x", ember.distributions.Normal(0.0, 1.0))
        sampling x
    """

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
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

    def hides(self, site: Site) -> bool:
        """Say whether the handlers outside of this one do not see a site."""
        return False

    def is_repeatable(self) -> bool:
        """Whether it does to each run what its attributes say, and keeps nothing of it.

        Steps inside of it can be captured.

        A subclass that keeps something in its own attributes need not say so: that is noticed.
        """
        return True

    def acts(self) -> bool:
        """Whether it does anything to the statements inside of it, and not at its entry and exit alone."""
        kind = type(self)
        return (
            kind._process_message is not Messenger._process_message
            or kind._postprocess_message is not Messenger._postprocess_message
            or any(name.startswith("_pyro_") for name in dir(self))
        )

    def see_step(self, msg: Site) -> None:
        """Act on a sample statement of one step of a loop over time, of which a handler sees the whole path as one site."""

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


# From here to the end of leave_site by key: this runs for every handler at every site, and an attribute costs a little more.
def default_process_message(msg: Site) -> None:
    """What happens at a site that no handler has settled: call its function."""
    if not (msg["done"] or msg["is_observed"] or msg["value"] is not None):
        msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
    msg["done"] = True


def _site_of(frame: FrameType, innermost: FrameType) -> str:
    site: Site = frame.f_locals["msg"]
    return f"{'param' if site.is_param else 'site'} {site.name!r}"


@works_for(_site_of)
def apply_stack(initial_msg: dict[str, Any]) -> None:
    """Run a message through the handlers: innermost to outermost, the default action, and back.

    A handler that sets ``msg["stop"]`` hides the site from those outside of it. The message of a primitive
    that a program has made by hand may be a plain dict.
    """
    if not isinstance(initial_msg, Site):
        _apply_to_dict(initial_msg)
        return
    msg = initial_msg
    reached = enter_site(msg, len(THREAD.stack))
    default_process_message(msg)
    leave_site(msg, reached, None)


def enter_site(msg: Site, inside: int) -> int:
    """Show a message to the handlers outside of the one at place ``inside`` of the stack; returns how far out it came."""
    stack = THREAD.stack
    reached = inside
    while reached:
        reached -= 1
        stack[reached]._process_message(msg)
        if msg["stop"]:
            break
    return reached


def leave_site(msg: Site, reached: int, inside: int | None) -> None:
    """Show a message that is settled to the handlers that :func:`enter_site` has shown it to."""
    # A handler may leave the stack while a site is processed, hence the copy.
    for handler in THREAD.stack[reached:inside]:
        handler._postprocess_message(msg)
    continuation = msg["continuation"]
    if continuation is not None:
        continuation(msg)


def _apply_to_dict(msg: dict[str, Any]) -> None:
    site = Site(msg)
    try:
        apply_stack(site)
    finally:
        msg.update(site)


def process_by(handlers: list[Messenger], msg: Site) -> None:
    """Let these handlers, wherever they are on the stack, act on a message before it is settled."""
    for handler in handlers:
        handler._process_message(msg)


def reset_stack(site: Site) -> None:
    """Reset the handlers of this thread from the innermost up to the first that hides the site."""
    for handler in reversed(THREAD.stack):
        handler._reset()
        if handler.hides(site):
            break


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
