"""Which operators of torch compute the same: in place, to a given tensor, and without writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ember.capture.native.lowering.refs import Ref
from ember.capture.recording.meta import Meta
from ember.torch_private.operators import OpOverload


def bound(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those that were left out at their defaults."""
    found: dict[str, Any] = {}
    positional = iter(args)
    for argument in op._schema.arguments:
        if argument.kwarg_only:
            found[argument.name] = kwargs.get(argument.name, argument.default_value)
            continue
        try:
            found[argument.name] = next(positional)
        except StopIteration:
            found[argument.name] = kwargs.get(argument.name, argument.default_value)
    return found


@cache
def functional(op: OpOverload) -> OpOverload | None:
    """``add`` for ``add_``, ``maximum`` for ``maximum.out``: what computes the same without writing."""
    plain = op._schema.name.partition("::")[2]
    to_outputs = writes_to_outputs(op)
    if not to_outputs and not plain.endswith("_"):
        return None
    packet = getattr(torch.ops.aten, plain if to_outputs else plain.removesuffix("_"), None)
    if packet is None:
        return None
    # An overload of the same name may be another operator: pow_.Scalar takes a tensor first, pow.Scalar a number.
    wanted = [(a.name, str(a.type)) for a in op._schema.arguments if not a.is_out]
    overloads: list[OpOverload] = [getattr(packet, name) for name in packet.overloads()]
    for other in overloads:
        if [(a.name, str(a.type)) for a in other._schema.arguments] == wanted:
            return other
    name = op._schema.overload_name or "default"
    return getattr(packet, name) if name in packet.overloads() and not to_outputs else None


@cache
def writes_to_outputs(op: OpOverload) -> bool:
    """Whether an operator writes its results to tensors given for them."""
    return any(argument.is_out for argument in op._schema.arguments)


def metas_of(op: OpOverload, arguments: Mapping[str, Any]) -> Any:
    """The layout of what an operator returns, found out with tensors without values."""

    def filled(value: Any) -> Any:
        if isinstance(value, Ref):
            return torch.empty_strided(value.shape, value.strides, dtype=value.dtype, device="meta")
        return [filled(item) for item in value] if isinstance(value, list) else value

    given = {a.name: filled(arguments[a.name]) for a in op._schema.arguments}
    positional = [given[a.name] for a in op._schema.arguments if not a.kwarg_only]
    results = op(*positional, **{a.name: given[a.name] for a in op._schema.arguments if a.kwarg_only})
    return tuple(map(_meta, results)) if isinstance(results, tuple | list) else _meta(results)


def _meta(tensor: Tensor) -> Meta:
    return Meta(tensor.dtype, tuple(tensor.shape), tensor.stride(), 0, -1, "cpu")
