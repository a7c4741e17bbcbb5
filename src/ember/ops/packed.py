"""Packed tensors: no dim of size 1, and a letter for every dim that is left.

A factor of an enumerated model has as many dims as the whole model has plates and variables, nearly all of them of size 1.
Packing squeezes these away and writes down what the others stand for, in the tensor's attribute ``_pyro_dims``: a string of
one character a dim. Functions here take and give packed tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

from ember.ops.tracing import sizes_of

T = TypeVar("T")


def dims_of(value: Tensor) -> str:
    """The dims of a packed tensor, a character each."""
    dims: str = value._pyro_dims  # type: ignore[attr-defined]
    return dims


def tagged(value: Tensor, dims: str) -> Tensor:
    """That tensor, marked as packed with these dims."""
    assert value.dim() == len(dims), f"a tensor of shape {tuple(value.shape)} cannot have dims {dims!r}"
    value._pyro_dims = dims  # type: ignore[attr-defined]
    return value


def _shape_error(shape: torch.Size, dim_to_symbol: Mapping[int, str]) -> ValueError:
    allowed = ", ".join(str(dim) for dim in sorted(dim_to_symbol))
    lines = (
        "Invalid tensor shape.",
        f"Allowed dims: {allowed}",
        f"Actual shape: {tuple(shape)}",
        "Try adding shape assertions for your model's sample values and distribution parameters.",
    )
    return ValueError("\n  ".join(lines))


@overload
def pack(value: Tensor, dim_to_symbol: Mapping[int, str]) -> Tensor: ...
@overload
def pack(value: T, dim_to_symbol: Mapping[int, str]) -> T: ...
def pack(value: object, dim_to_symbol: Mapping[int, str]) -> Any:
    """The packed form of a tensor; anything else is handed back as it is.

    Args:
        dim_to_symbol: the character of each dim, which is counted from the right: -1, -2, ...

    Raises:
        ValueError: if a dim that is not of size 1 has no character.

    >>> dims_of(pack(torch.zeros(3, 1, 2), {-1: "a", -3: "b"}))
    'ba'
    """
    if not isinstance(value, Tensor):
        return value
    assert not hasattr(value, "_pyro_dims"), "tried to pack an already-packed tensor"
    rank = value.dim()
    wide = [position - rank for position, size in enumerate(sizes_of(value)) if size != 1]
    try:
        dims = "".join(dim_to_symbol[dim] for dim in wide)
    except KeyError as error:
        raise _shape_error(value.shape, dim_to_symbol) from error
    return tagged(value.squeeze(), dims)


@overload
def unpack(value: Tensor, symbol_to_dim: Mapping[str, int]) -> Tensor: ...
@overload
def unpack(value: T, symbol_to_dim: Mapping[str, int]) -> T: ...
def unpack(value: object, symbol_to_dim: Mapping[str, int]) -> Any:
    """The inverse of :func:`pack`: every dim back at its place, with size 1 in between.

    >>> unpack(tagged(torch.zeros(3, 2), "ba"), {"a": -1, "b": -3}).shape
    torch.Size([3, 1, 2])
    """
    if not isinstance(value, Tensor):
        return value
    dims = dims_of(value)
    assert value.dim() == len(dims)
    if not dims:
        return value[...]  # another object: this one is not packed
    places = {symbol_to_dim[symbol]: position for position, symbol in enumerate(dims)}
    ordered = sorted(places)
    shape = [1] * -ordered[0]
    for place in ordered:
        shape[place] = sizes_of(value)[places[place]]
    return value.permute([places[place] for place in ordered]).reshape(shape)


def _sizes(values: tuple[Tensor, ...]) -> dict[str, int]:
    return {
        symbol: size for value in values for symbol, size in zip(dims_of(value), sizes_of(value), strict=True)
    }


def arranged(value: Tensor, own: str, dims: str) -> Tensor:
    """A view of a tensor whose dims are ``own``, with all of ``dims`` in that order: of size 1 where it has none."""
    if own == dims:
        return value
    order = [own.index(symbol) for symbol in dims if symbol in own]
    if order != list(range(len(order))):
        value = value.permute(order)
    for position, symbol in enumerate(dims):
        if symbol not in own:
            value = value.unsqueeze(position)
    return value


def aligned(value: Tensor, dims: str) -> Tensor:
    """A view of a packed tensor with all of ``dims``, as :func:`arranged`; it is not tagged."""
    return arranged(value, dims_of(value), dims)


def broadcast_all(*values: Tensor, dims: str | None = None) -> tuple[Tensor, ...]:
    """The tensors, all with the same dims and sizes.

    Args:
        dims: their order, alphabetical if None.

    >>> x, y = broadcast_all(tagged(torch.zeros(2), "b"), tagged(torch.zeros(3), "a"))
    >>> dims_of(x), x.shape
    ('ab', torch.Size([3, 2]))
    """
    sizes = _sizes(values)
    if dims is None:
        dims = "".join(sorted(sizes))
    else:
        assert set(dims) == set(sizes)
    shape = [sizes[symbol] for symbol in dims]
    return tuple(
        value if dims_of(value) == dims else tagged(aligned(value, dims).expand(shape), dims)
        for value in values
    )


def gather(value: Tensor, index: Tensor, dim: str) -> Tensor:
    """The entries of ``value`` that ``index`` picks along the dim ``dim``; the other dims broadcast.

    >>> picked = gather(tagged(torch.eye(2), "ab"), tagged(torch.tensor([1, 0]), "a"), "b")
    >>> dims_of(picked), picked
    ('a', tensor([0., 0.]))
    """
    assert dim in dims_of(value)
    assert dim not in dims_of(index)
    rest = "".join(sorted(set(dims_of(value) + dims_of(index)) - {dim}))
    sizes = _sizes((value, index))
    shape = [sizes[symbol] for symbol in rest]
    table = aligned(value, rest + dim).expand([*shape, sizes[dim]])
    picks = aligned(index, rest).expand(shape).unsqueeze(-1)
    return tagged(table.gather(-1, picks).squeeze(-1), rest)


@overload
def mul(lhs: Tensor, rhs: object) -> Tensor: ...
@overload
def mul(lhs: object, rhs: Tensor) -> Tensor: ...
@overload
def mul(lhs: float, rhs: float) -> float: ...
def mul(lhs: Any, rhs: Any) -> Any:
    """The product of two packed tensors, or of one and a number; the dims of a product of two are in alphabetical order.

    >>> dims_of(mul(tagged(torch.ones(2), "b"), tagged(torch.ones(3), "a")))
    'ab'
    """
    if isinstance(lhs, Tensor) and isinstance(rhs, Tensor):
        dims = "".join(sorted({*dims_of(lhs), *dims_of(rhs)}))
        return tagged(aligned(lhs, dims) * aligned(rhs, dims), dims)
    if isinstance(lhs, Tensor):
        return tagged(lhs * rhs, dims_of(lhs))
    if isinstance(rhs, Tensor):
        return tagged(lhs * rhs, dims_of(rhs))
    return lhs * rhs


def scale_and_mask(tensor: Tensor, scale: Any = 1.0, mask: Any = None) -> Tensor:
    """The tensor times ``scale`` where ``mask`` holds, and zero elsewhere; no operation where neither changes anything.

    Args:
        scale: a number, or a tensor without dims.
        mask: a packed tensor of bools, a bool, or None.

    Raises:
        NotImplementedError: if the scale has dims.

    >>> scale_and_mask(tagged(torch.ones(2), "a"), 3.0, tagged(torch.tensor([True, False]), "a"))
    tensor([3., 0.])
    """
    if isinstance(scale, Tensor) and scale.dim():
        raise NotImplementedError("non-scalar scale is not supported")
    if mask is False:
        return tagged(torch.zeros_like(tensor), dims_of(tensor))
    if isinstance(scale, Tensor) or scale != 1:
        tensor = tagged(tensor * scale, dims_of(tensor))
    if mask is None or mask is True:
        return tensor
    tensor, mask = broadcast_all(tensor, mask)
    return tagged(torch.where(mask, tensor, tensor.new_zeros(())), dims_of(tensor))


@overload
def neg(value: Tensor) -> Tensor: ...
@overload
def neg(value: float) -> float: ...
def neg(value: Any) -> Any:
    """The negative of a packed tensor or number."""
    return tagged(-value, dims_of(value)) if isinstance(value, Tensor) else -value


@overload
def exp(value: Tensor) -> Tensor: ...
@overload
def exp(value: float) -> float: ...
def exp(value: Any) -> Any:
    """The exponential of a packed tensor or number."""
    return tagged(value.exp(), dims_of(value)) if isinstance(value, Tensor) else math.exp(value)


def rename_equation(equation: str, *operands: Tensor) -> str:
    """An einsum equation in the letters of the packed operands.

    >>> rename_equation("ab,bc->ac", tagged(torch.ones(1, 1), "xy"), tagged(torch.ones(1, 1), "yz"))
    'xy,yz->xz'
    """
    inputs = equation.split("->")[0].split(",")
    assert len(inputs) == len(operands)
    renamed = {
        old: new
        for letters, operand in zip(inputs, operands, strict=True)
        for old, new in zip(letters, dims_of(operand), strict=True)
    }
    return "".join(renamed.get(symbol, symbol) for symbol in equation)
