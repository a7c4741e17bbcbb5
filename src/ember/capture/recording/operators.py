"""What the recorder must know of an aten operator, looked up once for each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ember.torch_private.operators import has_kernel, key_of_device

aten = torch.ops.aten
# They answer from the tensor's sizes; below autograd torch asks them of tensors of other kinds only.
_SIZES = (aten.size.default, aten.stride.default, aten.storage_offset.default)
# They change no memory, only how one tensor looks at it. Another tensor may go by the same node, and keeps its layout.
_LAYOUT_ONLY = {
    aten.as_strided_.default: aten.as_strided.default,
    aten.squeeze_.default: aten.squeeze.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.squeeze_.dims: aten.squeeze.dims,
    aten.t_.default: aten.t.default,
    aten.transpose_.default: aten.transpose.int,
    aten.unsqueeze_.default: aten.unsqueeze.default,
}


class Operator:
    """The facts about one overload."""

    __slots__ = (
        "_composite",
        "_func",
        "fills_memory",
        "is_kept",
        "is_random",
        "reads_values",
        "recorded_as",
        "shape_of_values",
        "written",
    )

    def __init__(self, func: Any) -> None:
        schema, tags = func._schema, func.tags
        self._func = func
        self._composite = func not in _SIZES and has_kernel(func.name(), "CompositeImplicitAutograd")
        self.written: tuple[tuple[int, str], ...] = tuple(
            (position, argument.name)
            for position, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write and func not in _LAYOUT_ONLY
        )
        self.is_random = torch.Tag.nondeterministic_seeded in tags
        self.fills_memory = "empty" not in schema.name
        self.recorded_as = _LAYOUT_ONLY.get(func, func)
        self.is_kept = self.recorded_as is func and (
            schema.is_mutable or self.is_random or not schema.returns
        )
        """Whether it has an effect even if its result is not used: random draws move the random stream on."""
        self.reads_values = torch.Tag.data_dependent_output in tags
        self.shape_of_values = torch.Tag.dynamic_output_shape in tags and func is not aten.index.Tensor

    def has_shape_of_values(self, args: tuple[Any, ...]) -> bool:
        """Whether the shape of the result depends on the values of these arguments."""
        if self._func is aten.index.Tensor:
            return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        return self.shape_of_values

    def is_composed(self, args: tuple[Any, ...]) -> bool:
        """Whether torch runs it as several other operators (which it has done above, but for inference mode)."""
        if not self._composite:
            return False
        devices = {tensor.device.type for tensor in tensors_in(args)}
        name = self._func.name()
        return not any(
            has_kernel(
                name,
                key_of_device(device),
            )
            for device in devices
        )

    def written_tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
        """The arguments that it changes."""
        for position, name in self.written:
            value = args[position] if position < len(args) else kwargs.get(name)
            yield from tensors_in((value,))


operator_facts = cache(Operator)


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments, lists included."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)
