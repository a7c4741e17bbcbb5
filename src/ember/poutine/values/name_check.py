"""Finding parameters by the names that users give them, and warning about names that never came up."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from ember.poutine.messenger import Messenger
from ember.poutine.validation import is_validation_enabled


class NameCheck:
    """Looks parameter names up in what the user gave, and remembers hits and misses of one run."""

    def __init__(self, what: str, given: Collection[str]) -> None:
        self.what = what
        self.given = given
        self.start()

    def start(self) -> None:
        """Forget the last run."""
        self.hits: set[str] = set()
        self.misses: set[str] = set()

    def look_up(self, name: str) -> str | None:
        """The user's name of a stored parameter (the part after ``$$$``) if it was given, else None."""
        key = name.split("$$$")[1] if "$$$" in name else name
        found = key in self.given
        (self.hits if found else self.misses).add(key)
        return key if found else None

    def finish(self, exc_type: type[BaseException] | None) -> None:
        """Warn about given names that no parameter had, unless the run ended in an error."""
        extra = [name for name in self.given if name not in self.hits]
        if extra and exc_type is None and is_validation_enabled():
            warnings.warn(
                f"pyro.module {self.what} did not find params {_quoted(extra)}. "
                f"Did you instead mean one of {_quoted(sorted(self.misses))}?",
                stacklevel=4,
            )


def _quoted(names: list[str]) -> str:
    return "['" + "', '".join(names) + "']"


class NamedParamMessenger(Messenger):
    """Base of handlers that replace parameters by the user's names for them, and warn about names that never came up."""

    def __init__(self, what: str, given: Collection[str]) -> None:
        super().__init__()
        self._names = NameCheck(what, given)
        self._settled: dict[str, Any] = {}
        """What the first statement of each parameter got in this run."""

    def is_repeatable(self) -> bool:
        """No: it keeps what the first run since it was entered got, for all steps inside."""
        return False

    def __enter__(self) -> Self:
        self._settled = {}
        self._names.start()
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._settled = {}
        super().__exit__(exc_type, exc_value, traceback)
        # Last: where warnings are errors, it must not leave the handler behind on the stack.
        self._names.finish(exc_type)
