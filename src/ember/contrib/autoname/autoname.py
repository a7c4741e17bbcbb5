"""Names made of the distribution's, the function's and the loop's: ``model/time__1/Bernoulli``."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import singledispatch
from types import TracebackType
from typing import Any, Self

import ember.primitives
from ember.distributions.distribution import Distribution
from ember.poutine.enumeration.reentrant_messenger import ReentrantMessenger
from ember.poutine.runtime import effectful
from ember.poutine.site import Site


@effectful(type="genname")
def genname(name: str = "name") -> str:
    """The name that a site of that name gets here: itself, unless it came before in this scope."""
    return name


class NameScope:
    """Counts names.

    Args:
        name: the scope's own.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self._counts: Counter[str] = Counter()

    def __str__(self) -> str:
        return str(self.name)

    def allocate(self, name: str) -> int:
        """How often the name was there before."""
        self._counts[name] += 1
        return self._counts[name] - 1


class ScopeStack(threading.local):
    """The scopes that a thread is in, from the outermost."""

    def __init__(self) -> None:
        self._stack: list[NameScope] = []

    def __str__(self) -> str:
        return "/".join(map(str, self._stack))

    @property
    def global_scope(self) -> NameScope:
        """A scope without a name, new each time: outside of all scopes nothing is counted."""
        return NameScope()

    @property
    def current_scope(self) -> NameScope:
        """The innermost."""
        return self._stack[-1] if self._stack else self.global_scope

    def push_scope(self, scope: NameScope) -> None:
        """Enter a scope."""
        self._stack.append(scope)

    def pop_scope(self) -> NameScope:
        """Leave the innermost."""
        return self._stack.pop()

    def fresh_name(self, name: str) -> str:
        """The name, with a number if it came before in the innermost scope."""
        count = self.current_scope.allocate(name)
        return f"{name}{count}" if count else name


_SCOPE_STACK = ScopeStack()


class AutonameMessenger(ReentrantMessenger):
    """Enters a scope of names; see :func:`autoname`.

    Args:
        name: the scope's; that of the function or loop if None.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self._iterable: Iterable[Any] = ()
        super().__init__()

    def __call__(self, fn_or_iter: Any) -> Any:
        if self.name is None and isinstance(fn_or_iter, Iterable | Callable):
            attribute = "name" if isinstance(fn_or_iter, Iterable) else "__name__"
            self.name = getattr(fn_or_iter, attribute, None)
            if self.name is None:
                raise AttributeError(
                    f"{type(fn_or_iter).__name__!r} object has no attribute {attribute!r} to name a scope: "
                    "write autoname(..., name=...)"
                )
        if isinstance(fn_or_iter, Iterable):
            self._iterable = fn_or_iter
            return self
        return super().__call__(fn_or_iter)

    def __enter__(self) -> Self:
        assert self.name is not None, "autoname as a context manager needs a name"
        count = _SCOPE_STACK.current_scope.allocate(self.name)
        _SCOPE_STACK.push_scope(NameScope(f"{self.name}__{count}" if count else self.name))
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _SCOPE_STACK.pop_scope()
        super().__exit__(exc_type, exc_value, traceback)

    def __iter__(self) -> Iterator[Any]:
        for value in self._iterable:
            with self:
                yield value

    def _pyro_genname(self, msg: Site) -> None:
        if not msg.done:
            path = str(_SCOPE_STACK)
            msg.value, msg.done = f"{path}/{_SCOPE_STACK.fresh_name(msg.args[0])}", True


def autoname(fn: Any = None, name: str | None = None) -> Any:
    """Make names: a decorator, a context manager, or a loop over what is given.

    A site is named by its distribution if it has no name; one that comes again gets a number. Before it stand
    the functions, loops and ``with`` blocks that it is in; those that come again get a number too.

    Args:
        fn: a program, or what to loop over.
        name: the scope's name; that of the program, or of the plate, if None.

    Raises:
        ValueError: if ``fn`` is neither.
        AttributeError: if there is no name to be found.

    >>> import ember
    >>> import ember.distributions as dist
    >>> from ember.contrib.autoname import autoname, sample
    >>> @autoname
    ... def model():
    ...     for t in autoname(range(2), name="time"):
    ...         sample(dist.Normal(0.0, 1.0))
    >>> list(ember.poutine.trace(model).get_trace().stochastic_nodes)
    ['model/time/Normal', 'model/time__1/Normal']
    """
    if fn is not None and not (callable(fn) or isinstance(fn, Iterable)):
        raise ValueError(f"{fn} is not callable, did you mean to pass it as a keyword arg?")
    messenger = AutonameMessenger(name=name)
    return messenger if fn is None else messenger(fn)


@singledispatch
def sample(*args: Any) -> Any:
    """``sample(name, fn, ...)`` or ``sample(fn, ...)``: a sample site whose name is made by :func:`autoname`.

    Raises:
        NotImplementedError: for another first argument.
    """
    raise NotImplementedError(
        f"sample takes a distribution, or a name and a distribution, and not {type(args[0]).__name__}"
    )


@sample.register(str)
def _sample_name(name: str, fn: Any, *args: Any, **kwargs: Any) -> Any:
    return ember.primitives.sample(genname(name), fn, *args, **kwargs)


@sample.register(Distribution)
def _sample_dist(fn: Any, *args: Any, **kwargs: Any) -> Any:
    name = kwargs.pop("name", None) or type(fn).__name__
    return ember.primitives.sample(genname(name), fn, *args, **kwargs)
