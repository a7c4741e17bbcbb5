"""Which rows the model's plates were given: ``plate(..., subsample=indices)`` names them, and a guide must take the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transform_to

from ember.infer.autoguide.base.initialization import InitMessenger
from ember.poutine.handlers import block
from ember.poutine.messenger import Handled, Messenger
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]


class GivenRows(Messenger):
    """Notes the indices that plates were given by the program, before any other handler can change them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Any] = {}

    def _pyro_sample(self, msg: Site) -> None:
        if site_is_subsample(msg) and msg.value is not None:
            self.rows[msg.name] = msg.value


class _Found(Exception):
    """All plates have been seen; the rest of the model need not run."""


class _Search(GivenRows):
    """Runs a model without drawing anything, as far as the last of some plates."""

    def __init__(self, names: Collection[str], prototype: Trace) -> None:
        super().__init__()
        self.missing = set(names)
        self.prototype = prototype

    def _pyro_sample(self, msg: Site) -> None:
        super()._pyro_sample(msg)
        if site_is_subsample(msg):
            self.missing.discard(msg.name)
            if not self.missing:
                raise _Found
        elif msg.value is None and hasattr(msg.fn, "support"):
            msg.value = self._stand_in(msg)

    def _stand_in(self, msg: Site) -> Tensor:
        fn, known = msg.fn, self.prototype.nodes.get(msg.name)
        shape: torch.Size = fn.shape()
        like = torch.zeros(())
        if known is not None:
            like = torch.as_tensor(known.value)
            if like.shape == shape:
                return like
        if fn.support.is_discrete:
            return like.new_zeros(shape)
        transform = transform_to(fn.support)
        point: Tensor = transform(like.new_zeros(transform.inverse_shape(shape)))
        return point


def innermost(program: Program, messenger: Messenger, keep_initializers: bool = True) -> Program:
    """The program with a handler inside of those that it has already, where no block of the user's hides plates from it."""
    if not isinstance(program, Handled):
        inside: Program = messenger(program)
        return inside
    if isinstance(program.msngr, InitMessenger) and not keep_initializers:
        return innermost(program.fn, messenger, keep_initializers)
    outer = copy.copy(program)
    outer.fn = innermost(program.fn, messenger, keep_initializers)
    return outer


def without_initializers(program: Program) -> Program:
    """The program without those of its handlers that give initial values."""
    if not isinstance(program, Handled):
        return program
    inside = without_initializers(program.fn)
    if isinstance(program.msngr, InitMessenger):
        return inside
    outer = copy.copy(program)
    outer.fn = inside
    return outer


def rows_given(
    program: Program, names: Collection[str], prototype: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The indices that these plates are given for these arguments, by name of the plate.

    The model runs as far as the last of the plates, hidden from all handlers, with stand-ins for latent values: no random number
    is drawn.
    """
    search = _Search(names, prototype)
    try:
        with torch.no_grad():
            block(innermost(program, search, keep_initializers=False))(*args, **kwargs)
    except _Found:
        pass
    return search.rows
