"""From a captured graph to values: views become index arithmetic, writes in place become new values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from ember.capture.meta import Meta
from ember.capture.native.lowering import foreach
from ember.capture.native.lowering.decompose import Decomposer
from ember.capture.native.lowering.overloads import bound, functional, metas_of, writes_to_outputs
from ember.capture.native.lowering.refs import Memory, Ref, contiguous, meta_of_ref, row_name
from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Call,
    Constant,
    Dims,
    Input,
    Part,
    Pointwise,
    UnsupportedError,
    Value,
    sorted_dims,
)
from ember.capture.native.values.plan import Output, Plan
from ember.capture.native.values.simplify import Builder

SUPPORTED = frozenset({torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8})


@dataclass(frozen=True)
class Lowered:
    """A graph as values."""

    inputs: list[Memory]
    originals: list[Input]
    """What the inputs hold before the step."""
    outputs: list[Any]
    """References, or None."""
    draws: list[Call]
    """Calls that draw random numbers, in order."""


def planned(lowered: Lowered) -> Plan:
    """The plan of a lowered graph."""
    finals = [
        (old, Access(memory.value, 0, memory.value.strides))
        for memory, old in zip(lowered.inputs, lowered.originals, strict=True)
        if memory.value is not old
    ]
    outputs = []
    for ref in lowered.outputs:
        if isinstance(ref, Ref):
            outputs.append(Output(Access(ref.memory.value, ref.offset, ref.strides), ref.shape, ref.dtype))
    return Plan(finals, outputs, lowered.draws)


Lower = Callable[["Lowering", "OpCall"], Any]


@dataclass
class OpCall:
    """One operator of the graph with its arguments by name."""

    name: str
    arguments: dict[str, Any]
    metas: Any
    origin: str

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def meta(self) -> Any:
        """Of the only or the first output."""
        return self.metas[0] if isinstance(self.metas, tuple) else self.metas


class Lowering:
    """Goes over a graph node by node."""

    def __init__(
        self,
        table: Mapping[str, Lower],
        decomposer: Decomposer,
        otherwise: Callable[[Lowering, OpCall, Any], Any] | None = None,
    ) -> None:
        self.table = table
        self.decomposer = decomposer
        self.otherwise = otherwise
        """For operators that have neither a row nor a decomposition."""
        self.build = Builder()
        self.draws: list[Call] = []
        self.origin = ""

    def graph(self, graph: Graph, inputs: Sequence[Tensor]) -> Lowered:
        """Lower a whole graph for inputs of these shapes and strides."""
        refs: list[Ref] = []
        memories: list[Memory] = []
        originals: list[Input] = []
        together: dict[int, list[Memory]] = {}
        for index, tensor in enumerate(inputs):
            self._check_dtype(tensor.dtype)
            if not tensor.is_cpu:
                raise UnsupportedError(f"an input on {tensor.device}")
            shape, strides = tuple(tensor.shape), tuple(tensor.stride())
            order = sorted_dims(shape, strides)
            value = Input(
                tensor.dtype, tuple(shape[i] for i in order), tuple(strides[i] for i in order), index=index
            )
            originals.append(value)
            memories.append(Memory(value))
            if tensor.numel():
                together.setdefault(tensor.untyped_storage().data_ptr(), []).append(memories[-1])
            refs.append(Ref(memories[-1], 0, shape, strides, tensor.dtype))
        outputs = self.inline(graph, refs)
        if any(len(shared) > 1 and any(memory.changed for memory in shared) for shared in together.values()):
            raise UnsupportedError("two inputs that share memory, one of which the step changes")
        return Lowered(memories, originals, outputs, self.draws)

    def inline(self, graph: Graph, arguments: Sequence[Any]) -> list[Any]:
        """Lower the nodes of a graph whose placeholders are these."""
        env: dict[Node, Any] = {}
        remaining = iter(arguments)
        outputs: list[Any] = []
        outer = self.origin
        for node in graph.nodes:
            if node.op == "placeholder":
                env[node] = next(remaining)
            elif node.op == "call_function":
                self.origin = node.meta.get("origin") or outer
                env[node] = self._node(node, env)
            elif node.op == "output":
                outputs = _resolve(node.args[0], env)
            else:
                raise UnsupportedError(f"a node {node.op}")
        self.origin = outer
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    def _node(self, node: Node, env: dict[Node, Any]) -> Any:
        if getattr(node.target, "__name__", "") == "getitem" and not isinstance(
            node.target, torch._ops.OpOverload
        ):
            source, index = node.args
            return env[source][index]  # type: ignore[index]
        op: Any = node.target
        arguments = bound(op, _resolve(node.args, env), _resolve(dict(node.kwargs), env))
        metas = node.meta["ember"]
        call = OpCall(row_name(op), arguments, metas, self.origin)
        for meta in metas if isinstance(metas, tuple) else (metas,):
            if isinstance(meta, Meta):
                self._check_dtype(meta.dtype)
        base = self._viewed(node, metas)
        if base is not None and not op._schema.is_mutable:
            if op is torch.ops.aten.as_strided.default:
                _check_inside(env[base], base.meta["ember"], metas)
            return _view(env[base], base.meta["ember"], metas)
        return self.call(op, call)

    @staticmethod
    def _viewed(node: Node, metas: Any) -> Node | None:
        """The argument whose memory the result lies in."""
        first = metas[0] if isinstance(metas, tuple) and metas else metas
        if first is None or isinstance(first, tuple):
            return None
        for arg in node.all_input_nodes:
            other = arg.meta.get("ember")
            if not isinstance(other, tuple) and other is not None and other.storage == first.storage:
                return arg
        return None

    def call(self, op: Any, call: OpCall) -> Any:
        """Lower one call of an operator; the result is a reference, or a list of them."""
        if foreach.is_foreach(op):
            one = foreach.one_tensor(op)
            if one is not None:
                return self._each(op, one, call)
        if writes_to_outputs(op):
            return self._to_outputs(op, call)
        if op._schema.is_mutable:
            return self._in_place(op, call)
        lower = self.table.get(call.name)
        if lower is None:
            return self._decomposed(op, call)
        return self._placed_all(lower(self, call), call)

    def _placed_all(self, result: Any, call: OpCall) -> Any:
        if isinstance(result, list | tuple):
            metas = call.metas if isinstance(call.metas, tuple) else (call.metas,)
            return [
                self.placed(one, meta) if isinstance(one, Value) else one
                for one, meta in zip(result, metas, strict=False)
            ]
        return self.placed(result, call.meta) if isinstance(result, Value) else result

    def placed(self, value: Value, meta: Any) -> Ref:
        self._check_dtype(meta.dtype)
        return Ref(Memory(value), 0, tuple(meta.shape), tuple(meta.stride), meta.dtype)

    def _each(self, op: Any, one: foreach.OneTensor, call: OpCall) -> list[Any]:
        """An operator on lists, tensor by tensor."""
        values = [call[argument.name] for argument in op._schema.arguments]
        results = []
        for number, arguments in enumerate(foreach.element_arguments(op, one, values)):
            meta = meta_of_ref(arguments["self"]) if one.op._schema.is_mutable else call.metas[number]
            results.append(self.call(one.op, OpCall(row_name(one.op), arguments, meta, call.origin)))
        return results

    def _decomposed(self, op: Any, call: OpCall) -> Any:
        module, tensors = self.decomposer(op, call.arguments)
        if module is None and self.otherwise is not None:
            return self._placed_all(self.otherwise(self, call, op), call)
        if module is None:
            where = f", at {self.origin}" if self.origin else ""
            raise UnsupportedError(f"the operator {call.name}{where}")
        results = self.inline(module.graph, tensors)
        return results if isinstance(call.metas, tuple) else results[0]

    def _in_place(self, op: Any, call: OpCall) -> Any:
        written = [a for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        if len(written) != 1 or not isinstance(call[written[0].name], Ref):
            return self._several_in_place(op, call, written)
        target: Ref = call[written[0].name]
        lower = self.table.get(call.name)
        meta = call.meta
        plain = functional(op)
        if lower is not None:
            result = lower(self, call)
        elif plain is not None and row_name(plain) in self.table:
            result = self.table[row_name(plain)](
                self, OpCall(row_name(plain), call.arguments, meta, call.origin)
            )
        elif plain is not None:
            module, tensors = self.decomposer(plain, call.arguments)
            if module is None:
                raise UnsupportedError(f"the operator {call.name}, at {self.origin}")
            result = self.inline(module.graph, tensors)[0]
        else:
            raise UnsupportedError(f"the operator {call.name}, at {self.origin}")
        self.write(target, result if isinstance(result, Ref) else self.placed(result, meta))
        return target

    def _to_outputs(self, op: Any, call: OpCall) -> Any:
        """By the operator that returns what this one writes to given tensors."""
        plain = functional(op)
        targets = [call[argument.name] for argument in op._schema.arguments if argument.is_out]
        if plain is None:
            raise UnsupportedError(f"the operator {call.name}, at {self.origin}")
        arguments = {a.name: call[a.name] for a in plain._schema.arguments}
        metas = metas_of(plain, arguments)
        results = self.call(plain, OpCall(row_name(plain), arguments, metas, call.origin))
        for target, result in zip(targets, results if isinstance(results, list) else [results], strict=True):
            if target.shape != result.shape:
                raise UnsupportedError(
                    f"the operator {call.name} to a tensor of another shape, at {self.origin}"
                )
            self.write(target, result)
        return targets if isinstance(results, list) else targets[0]

    def _several_in_place(self, op: Any, call: OpCall, written: list[Any]) -> Any:
        lower = self.table.get(call.name)
        if lower is None:
            return self._several_without_writing(op, call, written)
        *results, changes = lower(self, call)
        for argument, change in zip(written, changes, strict=True):
            target = call[argument.name]
            if isinstance(target, Ref):
                placed = change if isinstance(change, Ref) else _dense_ref(change, target)
                self.write(target, placed)
        return self._placed_all(list(results), call)

    def _several_without_writing(self, op: Any, call: OpCall, written: list[Any]) -> Any:
        """By the operator that returns what this one writes, after its own results."""
        packet = getattr(torch.ops.aten, op._schema.name.partition("::")[2] + "_functional", None)
        module, tensors = (None, []) if packet is None else self.decomposer(packet.default, call.arguments)
        if module is None:
            raise UnsupportedError(f"the operator {call.name}, at {self.origin}")
        results = self.inline(module.graph, tensors)
        count = len(results) - len(written)
        for argument, change in zip(written, results[count:], strict=True):
            self.write(call[argument.name], change)
        return results[:count]

    def write(self, target: Ref, source: Ref) -> None:
        """Change what a tensor holds to what another holds, broadcast and converted."""
        memory = target.memory
        old = memory.value
        memory.changed = True
        order = sorted_dims(target.shape, target.strides)
        dims = tuple(target.shape[i] for i in order)
        strides = tuple(target.strides[i] for i in order)
        over = source.over(target.shape)
        access = Access(source.memory.value, source.offset, tuple(over[i] for i in order))
        if source.dtype != target.dtype or isinstance(access.value, Constant):
            access = self.build.converted(access, dims, strides, target.dtype, self.origin)
        if (dims, strides) == (old.dims, old.strides) and target.offset == 0:
            memory.value = self.build.copied(access, dims, strides, self.origin)
            return
        if target.numel == 0:
            return
        _check_injective(dims, strides)
        base = Access(old, 0, old.strides)
        part = Part(access, dims, target.offset, strides)
        memory.value = Assemble(
            old.dtype, old.dims, old.strides, base=base, parts=[part], ordered=True, origin=self.origin
        )

    def read(self, ref: Any, shape: Dims, order: Sequence[int], dtype: torch.dtype) -> Access:
        """An operand broadcast to a shape, over those of its dims that are in ``order``."""
        if isinstance(ref, Ref):
            over = ref.over(shape)
            return Access(ref.memory.value, ref.offset, tuple(over[i] for i in order))
        return Access(self.build.constant(ref, dtype), 0, (0,) * len(order))

    def dense(self, ref: Ref) -> Access:
        """A tensor row by row over its own shape, copied where it does not lie so."""
        strides = tuple(
            s if n != 1 else c for s, n, c in zip(ref.strides, ref.shape, contiguous(ref.shape), strict=True)
        )
        if strides == contiguous(ref.shape) and not isinstance(ref.memory.value, Constant):
            return Access(ref.memory.value, ref.offset, strides)
        order = [i for i, n in enumerate(ref.shape) if n != 1]
        dims = tuple(ref.shape[i] for i in order)
        access = Access(ref.memory.value, ref.offset, tuple(ref.strides[i] for i in order))
        fresh = contiguous(ref.shape)
        layout = tuple(fresh[i] for i in order)
        copy = Pointwise(ref.dtype, dims, layout, origin=self.origin)
        copy.expression, copy.inputs, copy.types = "{0}", (access,), (ref.dtype,)
        return Access(copy, 0, fresh)

    @staticmethod
    def _check_dtype(dtype: torch.dtype) -> None:
        if dtype not in SUPPORTED:
            raise UnsupportedError(f"the dtype {str(dtype).removeprefix('torch.')}")


def _dense_ref(value: Value, like: Ref) -> Ref:
    order = sorted_dims(like.shape, like.strides)
    strides = [0] * len(like.shape)
    for i, stride in zip(order, value.strides, strict=True):
        strides[i] = stride
    return Ref(Memory(value), 0, like.shape, tuple(strides), value.dtype)


def _check_injective(dims: Dims, strides: Dims) -> None:
    """Whether no two indices lie at the same place."""
    reach = 0
    for size, stride in sorted(zip(dims, strides, strict=True), key=lambda pair: pair[1]):
        if stride <= reach and size > 1:
            raise UnsupportedError("a write to a view that overlaps itself")
        reach += (size - 1) * stride


def _check_inside(ref: Ref, base: Any, meta: Any) -> None:
    """Any place in memory can be asked for; what a value does not cover is lost when it is written."""
    value = ref.memory.value
    start = ref.offset + meta.offset - base.offset
    end = start + sum((size - 1) * stride for size, stride in zip(meta.shape, meta.stride, strict=True))
    dense = value.numel == value.extent
    if math.prod(meta.shape) and not (dense and start >= 0 and end < value.extent):
        raise UnsupportedError(
            "as_strided of elements that lie between those of the tensor, or outside of it"
        )


def _view(ref: Any, base: Any, meta: Any) -> Any:
    if isinstance(meta, tuple):
        return [_view(ref, base, one) for one in meta]
    if meta.dtype != ref.dtype:
        raise UnsupportedError("a view of another dtype")
    return Ref(ref.memory, ref.offset + meta.offset - base.offset, meta.shape, meta.stride, ref.dtype)


def _resolve(value: Any, env: dict[Node, Any]) -> Any:
    if isinstance(value, Node):
        return env[value]
    if isinstance(value, list | tuple):
        return [_resolve(item, env) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, env) for key, item in value.items()}
    return value
