"""Watching the operators of a recorded run: what it changes is put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ember.capture.value_guard import ValueTakenError
from ember.errors import CaptureError

aten = torch.ops.aten


class MutationGuard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies tensors that the run has not made itself just before an operator changes them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own: set[int] = set()
        # Kept alive, so that no storage's address is used again while it is remembered.
        self._alive: list[Tensor] = []
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}
        self._changed: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _has_shape_of_values(func, args):
            raise RuntimeError(f"{func}: masked_select, nonzero or boolean indexing")
        if torch.Tag.data_dependent_output in func.tags and not self._all_own(args):
            # A value read off a tensor from outside would be fixed in the graph, whatever becomes of the tensor.
            raise ValueTakenError(f"aten._local_scalar_dense: {func} of a tensor")
        for tensor in _written(func, args, kwargs):
            if _storage(tensor) not in self._own and id(tensor) not in self._saved:
                self._saved[id(tensor)] = (tensor, tensor.detach().clone())
                self._changed.add(_storage(tensor))
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.layout != torch.strided:
            raise CaptureError(
                "the step cannot be captured: it makes a sparse tensor, such as the gradient of a sparse embedding\n"
                "The way out: use dense ones (sparse=False), or run eagerly (compile=False)."
            )
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and not _is_view_of_arguments(func, tensor, args):
                self._own.add(_storage(tensor))
                self._alive.append(tensor)
        return result

    def _all_own(self, args: tuple[Any, ...]) -> bool:
        return all(not isinstance(tensor, Tensor) or _storage(tensor) in self._own for tensor in args)

    def has_changed(self, tensor: Tensor) -> bool:
        """Whether the run changed a tensor from outside."""
        return _storage(tensor) in self._changed

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the copies back when the block ends."""
        try:
            yield
        finally:
            self._alive.clear()
            with torch.no_grad():
                # The latest first: views of one tensor may have been copied at different times.
                for tensor, before in reversed(self._saved.values()):
                    tensor.detach().copy_(before)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


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
