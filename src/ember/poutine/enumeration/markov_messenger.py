"""Declaring that sites see only the recent past, so that enumeration can use its dims again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from ember.poutine.enumeration.reentrant_messenger import ReentrantMessenger
from ember.poutine.site import Site


class MarkovMessenger(ReentrantMessenger):
    """Declares that a site depends on sites of the last ``history`` steps only.

    A step is an iteration of ``for t in ember.markov(range(n))``, a ``with`` block, or a call of a decorated
    function. Steps that are entered inside of each other follow one another.

    Args:
        history: how many earlier steps a step depends on; with 0 they are independent.
        keep: whether a step that is left stays visible to later steps at the same level, such as branches of
            a tree.
        dim: not implemented: a dim to vectorise the steps along.
        name: not implemented: a name that pairs the steps of model and guide.

    Raises:
        NotImplementedError: if ``dim`` or ``name`` is given.

    >>> from ember import poutine
    >>> list(poutine.markov(range(3)))
    [0, 1, 2]
    """

    def __init__(
        self, history: int = 1, keep: bool = False, dim: int | None = None, name: str | None = None
    ) -> None:
        super().__init__()
        assert history >= 0, f"history must be at least 0, got {history}"
        for option, value in (("dim", dim), ("name", name)):
            if value is not None:
                raise NotImplementedError(
                    f"vectorized markov not yet implemented, try setting {option} to None"
                )
        self.history = history
        self.keep = keep
        self.dim = dim
        self.name = name
        self._iterable: Iterable[Any] | None = None
        self._pos = -1
        self._stack: list[set[str]] = []
        """The names of the sites of each step up to the present one (and beyond it, with ``keep``)."""

    def generator(self, iterable: Iterable[Any]) -> Self:
        """This handler as an iterator over ``iterable``, with a step for each item."""
        self._iterable = iterable
        return self

    def __iter__(self) -> Iterator[Any]:
        assert self._iterable is not None, "markov was given nothing to iterate over"
        with ExitStack() as steps:
            for value in self._iterable:
                steps.enter_context(self)
                yield value

    def __enter__(self) -> Self:
        self._pos += 1
        if len(self._stack) <= self._pos:
            self._stack.append(set())
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.keep:
            self._stack.pop()
        self._pos -= 1
        super().__exit__(exc_type, exc_value, traceback)

    def _pyro_sample(self, msg: Site) -> None:
        if msg.done or msg.is_subsample:
            return
        # Counted, since a site is out of sight as soon as one of the steps that it was in is.
        scope: Counter[str] = msg.markov_scope or Counter()
        msg.markov_scope = scope
        for names in self._stack[max(0, self._pos - self.history) : self._pos + 1]:
            scope.update(names)
        msg.markov_depth = 1 + (msg.markov_depth or 0)
        self._stack[self._pos].add(msg.name)
