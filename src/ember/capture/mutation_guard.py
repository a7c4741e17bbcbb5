"""Watching the operators of a recorded run: what it changes outside of its inputs is put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class MutationGuard(TorchDispatchMode):
    """Copies tensors from outside just before an operator changes them."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._own = {_storage(tensor) for tensor in inputs}
        # Kept alive, so that no storage's address is used again while it is remembered.
        self._alive: list[Tensor] = list(inputs)
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _has_shape_of_values(func, args):
            raise RuntimeError(f"{func}: masked_select, nonzero or boolean indexing")
        for tensor in _written(func, args, kwargs):
            if _storage(tensor) not in self._own and id(tensor) not in self._saved:
                self._saved[id(tensor)] = (tensor, tensor.detach().clone())
        result = func(*args, **kwargs)
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and not _is_view_of_arguments(func, tensor, args):
                self._own.add(_storage(tensor))
                self._alive.append(tensor)
        return result

    def has_changed(self, tensor: Tensor) -> bool:
        """Whether the run changed a tensor from outside."""
        storage = _storage(tensor)
        return any(_storage(changed) == storage for changed, _ in self._saved.values())

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the copies back when the block ends."""
        try:
            yield
        finally:
            self._alive.clear()
            with torch.no_grad():
                for tensor, before in self._saved.values():
                    tensor.detach().copy_(before)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    if func is aten.native_batch_norm.default:
        yield from (stat for stat in args[3:5] if args[5] and isinstance(stat, Tensor))
        return
    if not func._schema.is_mutable:
        return
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, Tensor):
                    yield tensor


def _is_view_of_arguments(func: Any, result: Tensor, args: tuple[Any, ...]) -> bool:
    if all(returned.alias_info is None for returned in func._schema.returns):
        return False
    storage = _storage(result)
    return any(
        isinstance(arg, Tensor) and _storage(arg) == storage for arg in torch.utils._pytree.tree_leaves(args)
    )


def _has_shape_of_values(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the shape of an operator's result depends on the values of its arguments."""
    if func is aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return torch.Tag.dynamic_output_shape in func.tags
