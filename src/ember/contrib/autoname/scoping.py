"""Prefixes of names, and numbers for names that come again.

Entering a scope is a message of type "scope": a counter outside of it may give the scope another name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Self

from ember.poutine.messenger import Messenger
from ember.poutine.runtime import effectful
from ember.poutine.site import Site

_COUNTED = re.compile(r"__\d+$")


@effectful(type="scope")
def _entered(path: str) -> str:
    return path


class NameCountMessenger(Messenger):
    """Numbers what has a name that was there before; see :func:`name_count`."""

    def __enter__(self) -> Self:
        self._taken: dict[str, set[str]] = {"sample": set(), "scope": set()}
        self._counts: dict[tuple[str, str], int] = {}
        return super().__enter__()

    def is_repeatable(self) -> bool:
        """No: steps inside of it go on counting."""
        return False

    def _fresh(self, name: str, kind: str) -> str:
        taken = self._taken[kind]
        base = _COUNTED.sub("", name)
        while name in taken:
            count = self._counts[base, kind] = self._counts.get((base, kind), 0) + 1
            name = f"{base}__{count}"
        taken.add(name)
        return name

    def _pyro_sample(self, msg: Site) -> None:
        msg.name = self._fresh(msg.name, "sample")

    def _pyro_scope(self, msg: Site) -> None:
        msg.args = (self._fresh(msg.args[0], "scope"),)


class ScopeMessenger(Messenger):
    """Puts a prefix before the names inside of it; see :func:`scope`.

    Args:
        prefix: the prefix; that of a function that is called through it if None.
        inner: number the sites of a second scope of that name, and not the scope itself.
    """

    def __init__(self, prefix: str | None = None, inner: bool | None = None) -> None:
        super().__init__()
        self.prefix = None if prefix is None else prefix.split("/")[-1]
        self.full_prefix = self.prefix
        self.inner = inner

    def __enter__(self) -> Self:
        if self.prefix is None:
            raise ValueError("no prefix was provided")
        # What is outside of it knows the whole path; only the last part of that is this scope's own.
        self.full_prefix = self.prefix if self.inner else _entered(self.prefix).split("/")[-1]
        return super().__enter__()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if self.prefix is None:
            self.prefix = self.full_prefix = _name_of(fn)
        called: Callable[..., Any] = functools.wraps(fn, updated=())(super().__call__(fn))
        return called

    def _pyro_scope(self, msg: Site) -> None:
        msg.args = (f"{self.full_prefix}/{msg.args[0]}",)

    def _pyro_sample(self, msg: Site) -> None:
        msg.name = f"{self.full_prefix}/{msg.name}"


def _name_of(fn: Any) -> str:
    name: str = getattr(fn, "__name__", type(fn).__name__)
    return name


def scope(fn: Callable[..., Any] | None = None, prefix: str | None = None, inner: bool | None = None) -> Any:
    """Put ``prefix/`` before the names of sample sites: a context manager, a decorator, or a function of ``fn``.

    Args:
        fn: a program.
        prefix: the prefix; the name of ``fn`` if None.
        inner: under :func:`name_count`, number the sites of a second scope of that name, and not the scope.

    Raises:
        ValueError: on entry, if there is neither a prefix nor a function.

    >>> import ember
    >>> from ember.contrib.autoname import scope
    >>> @scope(prefix="a")
    ... def model():
    ...     return ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    >>> "a/x" in ember.poutine.trace(model).get_trace()
    True
    """
    messenger = ScopeMessenger(prefix=prefix, inner=inner)
    return messenger if fn is None else messenger(fn)


def name_count(fn: Callable[..., Any] | None = None) -> Any:
    """Add ``__1``, ``__2`` and so on to names, and to scopes, that come again in a run.

    Args:
        fn: a program; without it, a context manager.

    >>> import ember
    >>> from ember.contrib.autoname import name_count
    >>> @name_count
    ... def model():
    ...     for _ in range(2):
    ...         ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    >>> "x__1" in ember.poutine.trace(model).get_trace()
    True
    """
    messenger = NameCountMessenger()
    return messenger if fn is None else functools.wraps(fn, updated=())(messenger(fn))
