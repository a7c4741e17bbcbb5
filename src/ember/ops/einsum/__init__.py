"""Einsum of many tensors over any backend, one pair at a time.

Programs that contract thousands of factors at every step find the order of the pairs once: it is remembered by equation and
shapes. Results are shared between contractions inside ``opt_einsum.shared_intermediates``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

import opt_einsum
import torch
from opt_einsum.sharing import currently_sharing, get_sharing_cache
from torch import Tensor

from ember.ops.einsum.elimination_order import Step, elimination_steps
from ember.ops.tracing import sizes_of

__all__ = ["contract", "contract_expression"]

# Equations and shapes whose order is remembered.
_REMEMBERED = 4096
_OURS = "ops.einsum.torch_"


@cache
def _pairwise(backend: str) -> Callable[..., Tensor] | None:
    """The backend's einsum, if it is torch's or one of the modules beside this one."""
    if backend == "torch":
        return _torch_einsum
    root, _, name = backend.partition(".")
    if root in ("ember", "pyro") and name.startswith(_OURS):
        einsum: Callable[..., Tensor] = import_module("ember." + name).einsum
        return einsum
    return None


def _torch_einsum(equation: str, *operands: Tensor) -> Tensor:
    """torch's einsum, with letters that it knows."""
    letters = dict.fromkeys(equation.replace(",", "").replace("->", ""))
    names = {letter: opt_einsum.get_symbol(place) for place, letter in enumerate(letters)}
    return torch.einsum("".join(names.get(symbol, symbol) for symbol in equation), *operands)


class _Expression:
    """A contraction whose order is found, waiting for operands of the shapes that it was made for."""

    def __init__(self, equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.equation, self.shapes = equation, shapes
        inputs, output = equation.split("->")
        letters = inputs.split(",")
        sizes = _sizes(letters, shapes)
        self.steps: list[Step] = elimination_steps(letters, output, sizes)

    def __call__(self, *operands: object, backend: str = "numpy", out: Any = None) -> Any:
        einsum = _pairwise(backend)
        if einsum is None:
            general = opt_einsum.contract_expression(self.equation, *self.shapes)
            return general(*operands, backend=backend, out=out)
        tensors: list[Any] = list(operands)
        for places, equation in self.steps:
            chosen = [tensors[place] for place in places]
            for place in places:
                tensors[place] = None  # so that a product is let go as soon as it is used
            tensors.append(_shared(einsum, backend, equation, chosen))
        return tensors[-1] if out is None else out.copy_(tensors[-1])


def _shared(einsum: Callable[..., Tensor], backend: str, equation: str, operands: list[Tensor]) -> Tensor:
    """One einsum, or what it gave before to the same tensors in any order."""
    if not currently_sharing():
        return einsum(equation, *operands)
    known: dict[Any, Any] = get_sharing_cache()
    inputs, output = equation.split("->")
    key = "einsum", backend, tuple(sorted(zip(map(id, operands), inputs.split(","), strict=True))), output
    if key not in known:
        for operand in operands:  # which keeps the ids from use by others
            known["tensor", id(operand)] = operand
        known[key] = einsum(equation, *operands)
    result: Tensor = known[key]
    return result


def _sizes(inputs: list[str], shapes: tuple[tuple[int, ...], ...]) -> dict[str, int]:
    if len(inputs) != len(shapes):
        raise ValueError(f"the equation is of {len(inputs)} tensors, but there are {len(shapes)}")
    sizes: dict[str, int] = {}
    for number, (dims, shape) in enumerate(zip(inputs, shapes, strict=True)):
        if len(dims) != len(shape):
            raise ValueError(f"operand {number} has the letters {dims!r}, but is of shape {shape}")
        for dim, size in zip(dims, shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"Size of label '{dim}' for operand {number} ({size}) does not match previous "
                    f"terms ({sizes[dim]})."
                )
    return sizes


@lru_cache(maxsize=_REMEMBERED)
def _remembered(equation: str, shapes: tuple[tuple[int, ...], ...]) -> _Expression:
    return _Expression(equation, shapes)


def contract_expression(equation: str, *shapes: tuple[int, ...], **kwargs: object) -> Any:
    """A function of tensors of the given shapes that contracts them.

    Args:
        equation: as in :func:`numpy.einsum`, with an arrow; letters may be any characters.
        cache_path: whether the order that was found is remembered (True unless given).
        **kwargs: for ``opt_einsum.contract_expression``, which takes over where there are any, or where the equation has
            an ellipsis or no arrow.

    Raises:
        ValueError: if a letter has two sizes.

    >>> contract_expression("ab,bc->ac", (2, 3), (3, 4))(torch.ones(2, 3), torch.ones(3, 4), backend="torch").shape
    torch.Size([2, 4])
    """
    remember = kwargs.pop("cache_path", True)
    shapes = tuple(tuple(shape) for shape in shapes)
    plain = "->" in equation and "." not in equation and " " not in equation and not kwargs
    if not plain:
        return opt_einsum.contract_expression(equation, *shapes, **kwargs)
    return (_remembered if remember else _Expression)(equation, shapes)


def contract(equation: str, *operands: Any, backend: str = "numpy", out: Any = None, **kwargs: Any) -> Any:
    """The sum of products of tensors that the equation says.

    Args:
        equation: as in :func:`numpy.einsum`, with an arrow; letters may be any characters.
        backend: ``"torch"``, one of the modules ``ember.ops.einsum.torch_*`` by its name, or a backend of opt_einsum.
        out: a tensor to write the result to.
        cache_path: whether the order of the pairs is remembered.

    Raises:
        ValueError: if a letter has two sizes.

    >>> contract("ab,bc,c->a", torch.ones(2, 3), torch.ones(3, 4), torch.ones(4), backend="torch")
    tensor([12., 12.])
    """
    shapes = [
        sizes_of(operand) if isinstance(operand, Tensor) else tuple(operand.shape) for operand in operands
    ]
    return contract_expression(equation, *shapes, **kwargs)(*operands, backend=backend, out=out)
