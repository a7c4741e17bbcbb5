"""Operators on lists of tensors by operators on one tensor: ``_foreach_add_.List`` is ``add_.Tensor`` again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ember.capture.native.lowering.refs import Ref
from ember.torch_private.operators import OpOverload

_PREFIX = "aten::_foreach_"
# What torch computes for each tensor of a list where the operator has another name, or lacks an overload.
_OTHER_NAMES = {"norm": "linalg_vector_norm", "maximum": "clamp_min", "minimum": "clamp_max"}
_OF_EACH = {"List[Tensor]": "Tensor", "List[number]": "number"}


@dataclass(frozen=True)
class OneTensor:
    """The operator on one tensor that a list operator runs for each."""

    op: OpOverload
    names: tuple[str, ...]
    """By which it takes the arguments of the list operator, in their order."""


@cache
def is_foreach(op: OpOverload) -> bool:
    """Whether an operator takes lists of tensors and treats each by itself."""
    return op._schema.name.startswith(_PREFIX)


@cache
def one_tensor(op: OpOverload) -> OneTensor | None:
    """What a list operator runs for each tensor, or None if torch has no such operator."""
    plain = op._schema.name.removeprefix(_PREFIX)
    base = plain.removesuffix("_")
    packet = getattr(torch.ops.aten, _OTHER_NAMES.get(base, base) + plain[len(base) :], None)
    if packet is None:
        return None
    kinds = [_OF_EACH.get(str(argument.type), str(argument.type)) for argument in op._schema.arguments]
    # Numbers may come as the elements of one tensor.
    for wanted in (kinds, [*kinds[:-1], "number"]):
        for name in packet.overloads():
            names = _taken(getattr(packet, name), wanted)
            if names is not None:
                return OneTensor(getattr(packet, name), names)
    return None


def _taken(op: OpOverload, wanted: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the arguments that take values of these kinds, all others being at their defaults; None if they cannot."""
    names: list[str] = []
    for argument in op._schema.arguments:
        if argument.is_out:
            return None
        if len(names) < len(wanted) and str(argument.type) == wanted[len(names)]:
            names.append(argument.name)
        elif not argument.has_default_value():
            return None
    return tuple(names) if len(names) == len(wanted) else None


def element_arguments(one: OneTensor, values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The arguments of each call on one tensor, from those of the list operator in order."""
    schema = one.op._schema.arguments
    kinds = {argument.name: str(argument.type) for argument in schema}
    defaults = {argument.name: argument.default_value for argument in schema}
    count = next(len(value) for value in values if isinstance(value, list))
    for i in range(count):
        arguments = dict(defaults)
        for name, value in zip(one.names, values, strict=True):
            arguments[name] = _element(value, i, kinds[name] == "number")
        yield arguments


def _element(value: Any, i: int, number: bool) -> Any:
    if isinstance(value, list):
        return value[i]
    if isinstance(value, Ref) and number:
        return Ref(value.memory, value.offset + i * value.strides[0], (), (), value.dtype)
    return value
