"""What belongs to a fit: its programs, its parameters, and the store that they are in."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any, Protocol

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.params.param_store import ParamStoreDict

Program = Callable[..., Any]
_SHOWN = 3
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


@dataclass(frozen=True)
class FittedPrograms:
    """A model with what was fitted to it; pickled as None, since programs are no data.

    Attributes:
        model: the program.
        source: draws of its latent sites, along dim 0, or a guide.
        store: where parameters are.
        params: their values when the fit ended; None for those of now.
    """

    model: Program
    source: Mapping[str, Tensor] | Program
    store: ParamStoreDict
    params: Mapping[str, Tensor] | None = None

    @property
    def guide(self) -> Program | None:
        """The guide, unless there are draws."""
        return self.source if callable(self.source) else None

    @property
    def draws(self) -> Mapping[str, Tensor] | None:
        """The draws, unless there is a guide."""
        return None if callable(self.source) else self.source

    def check_unchanged(self) -> None:
        """See whether the parameters are those of the end of the fit.

        Raises:
            ModelError: names those that have changed, or are gone.
        """
        known = self.params or {}
        changed = [
            name
            for name, value in known.items()
            if name not in self.store
            or not torch.equal(self.store[name].detach().nan_to_num(), value.nan_to_num())
        ]
        if changed:
            more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            raise ModelError(
                f"the parameters {changed[:_SHOWN]}{more} have changed since the fit ended, whose result this is\n"
                'The way out: SVI(..., param_store="own") keeps those of each fit apart; give the SVI itself for the '
                "parameters as they are now."
            )

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


class FromFit(Protocol):
    """What knows its programs: what :func:`ember.fit`, ``svi.run`` and ``svi.fit`` return, and an SVI."""

    @property
    def fitted_programs(self) -> FittedPrograms | None:
        """Model, and guide or draws; None for a result that was loaded from a file."""


def programs_of(fitted: object) -> FittedPrograms | None:
    """The programs of what was fitted; None for what is no fit."""
    found = getattr(fitted, "fitted_programs", None)
    return found if isinstance(found, FittedPrograms) else None
