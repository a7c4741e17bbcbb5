"""Operators that the table does not have, in terms of those that it may have: torch's own decompositions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx

from ember.capture.meta import Meta
from ember.capture.native.lowering.refs import Ref, row_name


class Decomposer:
    """Finds graphs for operators that have no row, each only once for arguments of the same layout."""

    def __init__(self, rows: frozenset[str]) -> None:
        self._rows = rows
        self._known: dict[Any, GraphModule | None] = {}

    def __call__(self, op: Any, arguments: dict[str, Any]) -> tuple[GraphModule | None, list[Any]]:
        """A graph that computes the operator, of its tensor arguments, and these; None if torch has no decomposition."""
        tensors: list[Any] = []
        shape = {name: _template(value, tensors) for name, value in arguments.items()}
        key = (op, repr(shape))
        if key not in self._known:
            self._known[key] = _recorded(op, shape, self._table)
        return self._known[key], tensors

    @cached_property
    def _table(self) -> dict[Any, Any]:
        """All of torch's decompositions, but for operators that have a row."""
        from torch._decomp import decomposition_table

        return {
            op: decomposition
            for op, decomposition in decomposition_table.items()
            if hasattr(op, "_schema") and row_name(op) not in self._rows
        }


def _template(value: Any, tensors: list[Any]) -> Any:
    if isinstance(value, Ref):
        tensors.append(value)
        return _Slot(len(tensors) - 1, value.shape, value.strides, value.dtype)
    if isinstance(value, list | tuple):
        return [_template(item, tensors) for item in value]
    return value


class _Slot:
    def __init__(self, position: int, *layout: Any) -> None:
        self.position, self.layout = position, layout

    def __repr__(self) -> str:
        return f"slot {self.position} {self.layout}"

    def empty(self) -> Tensor:
        shape, strides, dtype = self.layout
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta")


def _recorded(op: Any, template: dict[str, Any], table: dict[Any, Any]) -> GraphModule | None:
    slots: list[_Slot] = []

    def collect(value: Any) -> None:
        if isinstance(value, _Slot):
            slots.append(value)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    for value in template.values():
        collect(value)
    inputs = [slot.empty() for slot in slots]

    def fill(value: Any, flat: Sequence[Tensor]) -> Any:
        if isinstance(value, _Slot):
            return flat[value.position]
        if isinstance(value, list):
            return [fill(item, flat) for item in value]
        return value

    def call(flat: list[Tensor]) -> Any:
        filled = {name: _on_meta(name, fill(value, flat)) for name, value in template.items()}
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
            module = make_fx(call, decomposition_table=table)(inputs)
    except Exception:
        # Some operators have no kernel, or no decomposition that is right, for tensors without values.
        return None
    if any(node.target is op for node in module.graph.nodes):
        return None
    flat = GraphModule(module, _flat(module))
    attach_metas(flat, inputs)
    return flat


class _NoDecompositionError(Exception):
    pass


def _on_meta(name: str, value: Any) -> Any:
    return torch.device("meta") if name == "device" else value


def _flat(module: GraphModule) -> torch.fx.Graph:
    graph = module.graph
    graph.set_codegen(torch.fx.graph.CodeGen())
    return graph


class _MetaRun(Interpreter):
    """Runs a graph and writes down where each tensor lies."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self._storages: dict[int, int] = {}
        self._alive: list[Any] = []

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        n.meta["ember"] = self._meta(result)
        return result

    def _meta(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(self._meta(item) for item in value)
        if not isinstance(value, Tensor):
            return None
        self._alive.append(value)
        storage = self._storages.setdefault(value.untyped_storage()._cdata, len(self._storages))
        return Meta(
            value.dtype,
            tuple(value.shape),
            tuple(value.stride()),
            int(value.storage_offset()),
            storage,
            str(value.device),
        )


def attach_metas(module: GraphModule, inputs: Sequence[Tensor]) -> None:
    """Write down for each node where its tensor lies, by running the graph on these inputs."""
    with torch.no_grad():
        _MetaRun(module).run(*inputs)
