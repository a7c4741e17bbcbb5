"""Which store a program was fitted in, where that is not the active one: ``SVI(..., param_store=store)``."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

from ember.params.param_store import ParamStoreDict

Program = Callable[..., Any]
_Known = tuple[Callable[[], object], ParamStoreDict]

# By identity: programs need not be hashable, and equal ones need not be the same.
_STORES: dict[tuple[int, ...], _Known] = {}


def _parts(program: Program) -> tuple[object, ...]:
    """What a program is told by: a method is made anew each time that it is read."""
    return (program.__self__, program.__func__) if isinstance(program, MethodType) else (program,)


def note_fit(program: Program, store: ParamStoreDict | None) -> None:
    """Remember that a program is fitted in a store of its own; None for the active one.

    >>> def guide(): ...
    >>> store = ParamStoreDict()
    >>> note_fit(guide, store)
    >>> store_of(guide) is store
    True
    """
    parts = _parts(program)
    key = tuple(map(id, parts))
    if store is None:
        _STORES.pop(key, None)
        return
    try:
        alive = weakref.ref(parts[0], lambda _: _STORES.pop(key, None))
    except TypeError:  # an object without room for weak references
        return
    _STORES[key] = alive, store


def store_of(program: Program) -> ParamStoreDict | None:
    """The store that a program was last fitted in, if it was one of its own."""
    known = _STORES.get(tuple(map(id, _parts(program))))
    return None if known is None or known[0]() is None else known[1]
