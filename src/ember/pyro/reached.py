"""Names that libraries import although they are private in Pyro, or an accident; Ember's own code calls none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.serialization import MAP_LOCATION as MAP_LOCATION

from ember.ops.chain_products import sequential_logmatmulexp as _sequential_logmatmulexp
from ember.ops.logspace import logmatmulexp as _logmatmulexp
from ember.optim import pytorch_optimizers as pytorch_optims
from ember.poutine.handlers import make_handler
from ember.poutine.messenger import Messenger
from ember.poutine.rewriting.block_messenger import BlockMessenger
from ember.poutine.site import Site

__all__ = [
    "MAP_LOCATION",
    "_break_plates",
    "_logmatmulexp",
    "_make_default_hide_fn",
    "_make_handler",
    "_sequential_logmatmulexp",
    "pytorch_optims",
]


class _Plate(Protocol):
    dim: int
    size: int


def _make_handler(
    msngr_cls: type[Messenger], module: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that replaces a function by the handler of a messenger: its name and signature stay.

    Args:
        msngr_cls: the messenger.
        module: what the handler's ``__module__`` says; that of the function if None.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        plain: Callable[..., Any] = make_handler(fn.__name__, msngr_cls)
        handler = functools.wraps(fn)(plain)
        handler.__doc__ = (
            f"Handler made of :class:`~{msngr_cls.__module__}.{msngr_cls.__name__}`.\n\n{msngr_cls.__doc__}"
        )
        if module is not None:
            handler.__module__ = module
        return handler

    return decorate


def _make_default_hide_fn(
    hide_all: bool,
    expose_all: bool,
    hide: Collection[str] | None,
    expose: Collection[str] | None,
    hide_types: Collection[str] | None,
    expose_types: Collection[str] | None,
) -> Callable[[Site], bool]:
    """Whether a ``block`` with these settings hides a site.

    Raises:
        AssertionError: if a name or type is both hidden and exposed.
    """
    block = BlockMessenger(None, None, hide_all, expose_all, hide, expose, hide_types, expose_types)
    decide: Callable[[Site], bool] = block.hide_fn
    return decide


def _break_plates(x: Tensor, all_plates: Collection[_Plate], kept_plates: Collection[_Plate]) -> Tensor:
    """Move batch dims into the one event dim.

    Args:
        x: of shape ``batch + (n,)``; each batch dim is 1 or belongs to a plate.
        all_plates: the plates of the batch dims.
        kept_plates: those of them whose dims stay.

    Returns:
        A tensor with dims of the kept plates, and an event dim that is as long as those moved and ``n`` together.

    Raises:
        AssertionError: if the batch shape is not that of the plates.
    """
    sizes = {plate.dim: plate.size for plate in all_plates}
    depth = -min(sizes, default=0)
    batch = x.shape[:-1]
    expected = tuple(sizes.get(dim, 1) for dim in range(-depth, 0))
    assert batch == expected, f"a tensor of batch shape {tuple(batch)} for plates of shape {expected}"
    kept = {plate.dim for plate in kept_plates}
    if not kept:
        return x.reshape(-1)
    moved = [dim for dim in sorted(sizes) if dim not in kept]
    broken = _moved_right(x, [dim - 1 for dim in moved])
    out = [sizes[dim] if dim in kept else 1 for dim in range(min(kept), 0)]
    return broken.reshape(*out, -1)


def _moved_right(x: Tensor, dims: Sequence[int]) -> Tensor:
    """The same tensor with some dims, counted from the right, just before the last one."""
    places = [x.dim() + dim for dim in dims]
    others = [dim for dim in range(x.dim() - 1) if dim not in places]
    return x.permute(*others, *places, x.dim() - 1)
