"""Indexing that works the same for one value, for a batch of values, and for all values of an enumerated variable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ember.ops.tracing import sizes_of

__all__ = ["Index", "Vindex", "index", "vindex"]

_ALL = slice(None)


def _flat(args: object) -> Iterator[Any]:
    if isinstance(args, tuple):
        for arg in args:
            yield from _flat(arg)
    else:
        yield args


def index(tensor: Tensor, args: Any) -> Tensor:
    """``tensor[args]``, where ``args`` may be tuples in tuples.

    This lets an index stand for an operation on dims: for ``t = (Ellipsis, None)``, ``x[..., t]`` is ``x.unsqueeze(-1)``. Of
    several ellipses in a row, one counts.

    >>> index(torch.zeros(3, 2), (..., (..., None))).shape
    torch.Size([3, 2, 1])
    """
    if not isinstance(args, tuple):
        return tensor[args]
    if not args:
        return tensor
    flat: list[Any] = []
    for arg in _flat(args):
        if not (arg is Ellipsis and flat and flat[-1] is Ellipsis):
            flat.append(arg)
    return tensor[tuple(flat)]


class Index:
    """:func:`index` in square brackets.

    >>> Index(torch.zeros(3, 2))[..., (..., None)].shape
    torch.Size([3, 2, 1])
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __getitem__(self, args: object) -> Tensor:
        return index(self._tensor, args)


def _is_batched(arg: object) -> bool:
    return isinstance(arg, Tensor) and arg.dim() > 0


def _is_scalar(arg: object) -> bool:
    return isinstance(arg, Tensor) and arg.dim() == 0 and arg.dtype is not torch.bool


def vindex(tensor: Tensor, args: Any) -> Tensor:
    """Indexing by tensors that broadcast against each other and against the batch dims of ``tensor``.

    ``vindex(x, (i, slice(None), j))`` is of shape ``broadcast(i.shape, j.shape) + (x.shape[1],)``: whatever is a tensor among
    the indices makes up the batch dims, on the left, and the slices make up the event dims, on the right. If ``x`` has batch dims
    of its own, the first index is an ellipsis, which stands for them; they broadcast with the tensors. Where no index is a
    tensor with dims, this is ``tensor[args]``.

    Args:
        args: an index, or a tuple of as many as the tensor has event dims. Each is an int, a tensor of ints without event dims,
            or ``slice(None)``; an ellipsis can come first.

    Raises:
        NotImplementedError: for an ellipsis elsewhere, and for slices with bounds.

    References:
        S. Hoyer, J. Jaeckel, S. Berg (2015), "NEP 21 — Simplified and explicit advanced indexing".

    >>> i = torch.tensor([[1], [0]])
    >>> vindex(torch.eye(3), (i, torch.tensor([0, 1])))
    tensor([[0., 1.],
            [1., 0.]])
    """
    if not isinstance(args, tuple) and not _is_scalar(args):
        return tensor[args]
    given = list(args) if isinstance(args, tuple) else [args]
    leading = bool(given) and given[0] is Ellipsis
    if leading:
        del given[0]
    if not given:
        return tensor
    rest = [_ALL] * (tensor.dim() - len(given))
    events = len(given) if leading else tensor.dim()
    args = tuple(rest + given if leading else given + rest)
    if len(args) != tensor.dim():
        raise IndexError(f"vindex got {len(args)} indices for a tensor of {tensor.dim()} dims: {args}")
    if any(arg is Ellipsis for arg in args):
        raise NotImplementedError("Non-leading Ellipsis is not supported")
    if any(_is_batched(arg) for arg in args[1:]):
        return _outer_and_pointwise(tensor, args, events)
    if any(_is_scalar(arg) for arg in args):
        return _by_scalars(tensor, args)
    return tensor[args]


def _by_scalars(tensor: Tensor, args: tuple[Any, ...]) -> Tensor:
    """``tensor[args]`` without a look at the values of scalar tensors: torch would turn these into ints."""
    for dim in reversed(range(len(args))):
        arg = args[dim]
        if _is_scalar(arg):
            place = torch.where(arg < 0, arg + sizes_of(tensor)[dim], arg).long()
            tensor = tensor.index_select(dim, place.reshape(1)).squeeze(dim)
    rest = tuple(arg for arg in args if not _is_scalar(arg))
    return tensor[rest] if rest else tensor


def _outer_and_pointwise(tensor: Tensor, args: tuple[Any, ...], events: int) -> Tensor:
    """Every index as a tensor, each slice with a dim of its own, to the right of those of the batch."""
    slices = sum(isinstance(arg, slice) for arg in args[-events:])
    last = max(place for place, arg in enumerate(args) if not isinstance(arg, slice))
    # What comes after the last tensor needs none: torch keeps such dims, and on the right.
    right = len(args) - 1 - last
    indices: list[Any] = []
    columns = 0
    for place in reversed(range(len(args))):
        arg = args[place]
        if isinstance(arg, slice):
            if arg != _ALL:
                raise NotImplementedError("Nontrivial slices are not supported")
            if place > last:
                continue
            arg = torch.arange(sizes_of(tensor)[place], device=tensor.device).reshape((-1,) + (1,) * columns)
            columns += 1
        elif isinstance(arg, Tensor):
            arg = arg.reshape(arg.shape + (1,) * (slices - right))
            if arg.dim() == 0:
                arg = arg.reshape(1)  # torch would turn a scalar into an int
        indices.append(arg)
    return tensor[tuple(reversed(indices))]


class Vindex:
    """:func:`vindex` in square brackets.

    >>> weights = torch.tensor([[0.1, 0.9], [0.6, 0.4]])
    >>> Vindex(weights)[torch.tensor([0, 1, 1])].shape  # the rows for three values of a variable
    torch.Size([3, 2])
    >>> Vindex(weights)[..., torch.tensor([[0], [1]])]  # in each row, both values of an enumerated variable
    tensor([[0.1000, 0.6000],
            [0.9000, 0.4000]])
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __getitem__(self, args: object) -> Tensor:
        return vindex(self._tensor, args)
