"""Global settings: one registry of named, validated values that live where they are used.

A setting is a public alias for one attribute of one module (``deepname`` may reach into a class). Values are
read and written in place, so code that uses a setting pays for a plain attribute access only.

    >>> from ember import settings
    >>> with settings.context(validate_infer=False):
    ...     settings.get("validate_infer")
    False
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, TypeVar, overload

Validator = Callable[[Any], Any]
V = TypeVar("V", bound=Validator)


class _Entry(NamedTuple):
    module: str
    path: str
    validator: Validator | None

    def _owner(self) -> tuple[Any, str]:
        *parents, name = self.path.split(".")
        return functools.reduce(getattr, parents, import_module(self.module)), name

    def read(self) -> Any:
        owner, name = self._owner()
        return getattr(owner, name)

    def write(self, value: Any) -> None:
        CHANGES.number += 1
        owner, name = self._owner()
        setattr(owner, name, value)


_REGISTRY: dict[str, _Entry] = {}


class _Changes:
    """How often settings have been written."""

    number = 0


CHANGES = _Changes()
"""``CHANGES.number`` grows whenever a setting may have been changed."""


def _entry(alias: str) -> _Entry:
    try:
        return _REGISTRY[alias]
    except KeyError:
        raise KeyError(f"unknown setting {alias!r}; there are: {', '.join(sorted(_REGISTRY))}") from None


def get(alias: str | None = None) -> Any:
    """Return the value of one setting, or a dict of all settings.

    Args:
        alias: the name of the setting; None gives all of them.

    Raises:
        KeyError: if there is no setting of that name; the message lists those there are.

    >>> from ember import settings
    >>> settings.get("nonfinite_loss")
    'raise'
    """
    if alias is None:
        return {name: entry.read() for name, entry in sorted(_REGISTRY.items())}
    return _entry(alias).read()


def set(**values: Any) -> None:
    """Change settings. All values are validated before the first one is written.

    Args:
        values: new values by name.

    Raises:
        KeyError: for an unknown name.
        ValueError, TypeError: from the validator of a setting; nothing has changed then.

    >>> from ember import settings
    >>> settings.set(nonfinite_loss="warn")
    >>> settings.set(nonfinite_loss="raise")
    """
    entries = {alias: _entry(alias) for alias in values}
    for alias, entry in entries.items():
        if entry.validator is not None:
            entry.validator(values[alias])
    for alias, entry in entries.items():
        entry.write(values[alias])


class _Block:
    """An open block that has changed settings, with what is to come back when it ends."""

    def __init__(self, old: dict[str, Any]) -> None:
        self.old = old


_OPEN: list[_Block] = []
_LOCK = threading.RLock()


@contextmanager
def context(**values: Any) -> Iterator[None]:
    """Change settings for the duration of a ``with`` block or of a decorated function.

    Settings are the whole process's. Where blocks of several threads overlap, the one entered last holds, and
    what was before all of them comes back when the last one ends.

    Args:
        values: values by name, for the block.

    Raises:
        KeyError: for an unknown name.
        ValueError, TypeError: from the validator of a setting; nothing has changed then.

    >>> from ember import settings
    >>> with settings.context(nonfinite_loss="warn"):
    ...     settings.get("nonfinite_loss")
    'warn'
    """
    with _LOCK:
        block = _Block({alias: get(alias) for alias in values})
        set(**values)
        _OPEN.append(block)
    try:
        yield
    finally:
        with _LOCK:
            _end(block)


def _end(block: _Block) -> None:
    later = _OPEN[_OPEN.index(block) + 1 :]
    _OPEN.remove(block)
    for alias, value in block.old.items():
        heir = next((other for other in later if alias in other.old), None)
        if heir is None:
            _entry(alias).write(value)
        else:
            heir.old[alias] = value


@overload
def register(alias: str, modulename: str, deepname: str, validator: None = None) -> Callable[[V], V]: ...
@overload
def register(alias: str, modulename: str, deepname: str, validator: V) -> V: ...
def register(alias: str, modulename: str, deepname: str, validator: Validator | None = None) -> Any:
    """Register a module attribute as the setting ``alias``; as a decorator, also its validator.

    Args:
        alias: the public name of the setting.
        modulename: the module that holds the value, usually ``__name__``.
        deepname: the attribute in that module; dots reach into classes.
        validator: called with a proposed value; raises if it is not acceptable.

    Raises:
        AttributeError: if there is no such attribute.
        ValueError: if the alias is taken by another attribute.

    In a module of its own:

        _LIMIT = 10

        @settings.register("my_limit", __name__, "_LIMIT")
        def _validate(value):
            if value < 1:
                raise ValueError("my_limit must be positive")
    """
    if validator is None:
        register_now = functools.partial(_register, alias, modulename, deepname)
        register_now(None)
        return register_now
    return _register(alias, modulename, deepname, validator)


def _register(alias: str, modulename: str, deepname: str, validator: Validator | None) -> Validator | None:
    old = _REGISTRY.get(alias)
    if old is not None and (old.module, old.path) != (modulename, deepname):
        raise ValueError(f"setting {alias!r} is already registered for {old.module}.{old.path}")
    entry = _Entry(modulename, deepname, validator)
    entry.read()
    _REGISTRY[alias] = entry
    return validator


__all__ = ["context", "get", "register", "set"]
