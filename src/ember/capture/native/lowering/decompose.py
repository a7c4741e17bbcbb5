"""Operators that the table does not have, in terms of those that it may have: torch's own decompositions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx

from ember.capture.native.lowering.refs import Ref, row_name
from ember.capture.native.values.layout import Dims
from ember.capture.recording.meta import Meta
from ember.torch_private.operators import OpOverload, decompositions
from ember.torch_private.values import number_of_storage

Decompositions = Mapping[OpOverload, Callable[..., object]]


class Decomposer:
    """Finds graphs for operators that have no row, each only once for arguments of the same layout."""

    def __init__(self, rows: frozenset[str]) -> None:
        self._rows = rows
        self._known: dict[tuple[OpOverload, str], Graph | None] = {}

    def __call__(self, op: OpOverload, arguments: Mapping[str, object]) -> tuple[Graph | None, list[Ref]]:
        """A graph that computes the operator, of its tensor arguments, and these; None if torch has no decomposition."""
        tensors: list[Ref] = []
        shape = {name: _template(value, tensors) for name, value in arguments.items()}
        key = (op, repr(shape))
        if key not in self._known:
            self._known[key] = _recorded(op, shape, self._table)
        return self._known[key], tensors

    @cached_property
    def _table(self) -> dict[OpOverload, Callable[..., object]]:
        """All of torch's decompositions, but for operators that have a row."""
        return {
            op: decomposition
            for op, decomposition in decompositions().items()
            if isinstance(op, OpOverload) and row_name(op) not in self._rows
        }


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor."""

    position: int
    shape: Dims
    strides: Dims
    dtype: torch.dtype

    def empty(self) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")


def _template(value: object, tensors: list[Ref]) -> object:
    if isinstance(value, Ref):
        tensors.append(value)
        return _Slot(len(tensors) - 1, value.shape, value.strides, value.dtype)
    if isinstance(value, list | tuple):
        return [_template(item, tensors) for item in value]
    return value


def _slots(value: object) -> list[_Slot]:
    if isinstance(value, list):
        return [slot for item in value for slot in _slots(item)]
    return [value] if isinstance(value, _Slot) else []


def _filled(value: object, flat: Sequence[Tensor]) -> object:
    if isinstance(value, _Slot):
        return flat[value.position]
    return [_filled(item, flat) for item in value] if isinstance(value, list) else value


def _recorded(op: OpOverload, template: dict[str, object], table: Decompositions) -> Graph | None:
    inputs = [slot.empty() for slot in _slots(list(template.values()))]

    def call(flat: list[Tensor]) -> object:
        filled = {name: _on_meta(name, _filled(value, flat)) for name, value in template.items()}
        positional = [filled[a.name] for a in op._schema.arguments if not a.kwarg_only]
        named = {a.name: filled[a.name] for a in op._schema.arguments if a.kwarg_only}
        if op in table:
            result = table[op](*positional, **named)
        else:
            result = op.decompose(*positional, **named)
            if result is NotImplemented:
                raise _NoDecompositionError
        return result if isinstance(result, tuple | list) else [result]

    try:
        with torch.no_grad():
            module = make_fx(call, decomposition_table=dict(table))(inputs)
    except Exception:
        # Some operators have no kernel, or no decomposition that is right, for tensors without values.
        return None
    if any(node.target is op for node in module.graph.nodes):
        return None
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    flat = GraphModule(module, module.graph)
    with torch.no_grad():
        _MetaRun(flat).run(*inputs)
    return flat.graph


class _NoDecompositionError(Exception):
    pass


def _on_meta(name: str, value: object) -> object:
    return torch.device("meta") if name == "device" else value


class _MetaRun(Interpreter):
    """Runs a graph and writes down where each tensor lies."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self._storages: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        n.meta["ember"] = self._meta(result)
        return result

    def _meta(self, value: object) -> object:
        if isinstance(value, tuple | list):
            return tuple(self._meta(item) for item in value)
        if not isinstance(value, Tensor):
            return None
        self._alive.append(value)
        storage = self._storages.setdefault(number_of_storage(value), len(self._storages))
        return Meta(
            value.dtype,
            tuple(value.shape),
            tuple(value.stride()),
            int(value.storage_offset()),
            storage,
            str(value.device),
        )
