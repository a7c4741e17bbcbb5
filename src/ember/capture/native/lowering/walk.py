"""From a captured graph to values, node by node: views become index arithmetic, writes in place become new values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.fx import Graph, Node

from ember.capture.native.lowering import foreach
from ember.capture.native.lowering.decompose import Decomposer
from ember.capture.native.lowering.overloads import bound, functional, metas_of, writes_to_outputs
from ember.capture.native.lowering.refs import Memory, Ref, layout, row_name
from ember.capture.native.lowering.workspace import Lower, Metas, OpCall, Outcome, Workspace
from ember.capture.native.values.arrays import Access, Input, Value
from ember.capture.native.values.dtypes import check_dtype
from ember.capture.native.values.plan import Output, Plan
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.meta import Meta
from ember.torch_private.operators import OpOverload

Bound = object
"""What a node stands for while a graph is gone over: a tensor, a list of them, or anything else that an operator takes."""
Otherwise = Callable[[Workspace, OpCall, OpOverload], Outcome]


class Lowering:
    """Goes over a graph node by node."""

    def __init__(self, table: Mapping[str, Lower], decomposer: Decomposer, otherwise: Otherwise) -> None:
        self.table = table
        self.decomposer = decomposer
        self.otherwise = otherwise
        """For operators that have neither a row nor a decomposition."""
        self.space = Workspace()

    def plan(self, graph: Graph, inputs: Sequence[Tensor]) -> Plan:
        """Lower a whole graph for inputs of these shapes and strides."""
        refs, originals = [], []
        together: dict[int, list[Memory]] = {}
        for index, tensor in enumerate(inputs):
            original = _input(tensor, index)
            memory = Memory(original)
            originals.append(original)
            refs.append(Ref(memory, 0, tuple(tensor.shape), tensor.stride(), tensor.dtype))
            if tensor.numel():
                together.setdefault(tensor.untyped_storage().data_ptr(), []).append(memory)
        outputs = self.inline(graph, refs)
        if any(len(shared) > 1 and any(memory.changed for memory in shared) for shared in together.values()):
            raise UnsupportedError("two inputs that share memory, one of which the step changes")
        finals = [
            (old, Access(ref.memory.value, 0, ref.memory.value.strides))
            for ref, old in zip(refs, originals, strict=True)
            if ref.memory.value is not old
        ]
        read = [
            Output(Access(ref.memory.value, ref.offset, ref.strides), ref.shape, ref.dtype)
            for ref in outputs
            if isinstance(ref, Ref)
        ]
        space = self.space
        return Plan(tuple(originals), tuple(finals), tuple(read), tuple(space.draws), tuple(space.required))

    def inline(self, graph: Graph, arguments: Sequence[Bound]) -> list[Bound]:
        """Lower the nodes of a graph whose placeholders are these."""
        env: dict[Node, Bound] = {}
        remaining = iter(arguments)
        outputs: Bound = []
        outer = self.space.origin
        for node in graph.nodes:
            if node.op == "placeholder":
                env[node] = next(remaining)
            elif node.op == "call_function":
                self.space.origin = node.meta.get("origin") or outer
                env[node] = found = self._node(node, env)
                if "assumed" in node.meta:
                    assert isinstance(found, Ref)
                    self.space.require(found)
            elif node.op == "output":
                outputs = _resolve(node.args[0], env)
            else:
                raise UnsupportedError(f"a node {node.op}")
        self.space.origin = outer
        return list(outputs) if isinstance(outputs, list) else [outputs]

    def _node(self, node: Node, env: dict[Node, Bound]) -> Bound:
        op = node.target
        if not isinstance(op, OpOverload):
            return _item(node, env)
        arguments = bound(
            op,
            [_resolve(arg, env) for arg in node.args],
            {name: _resolve(arg, env) for name, arg in node.kwargs.items()},
        )
        metas: Metas = node.meta["ember"]
        for meta in metas if isinstance(metas, tuple) else (metas,):
            if isinstance(meta, Meta):
                check_dtype(meta.dtype)
        base = _viewed(node, metas)
        if base is not None and not op._schema.is_mutable:
            source, meta = env[base], base.meta["ember"]
            assert isinstance(source, Ref)
            if op is torch.ops.aten.as_strided.default:
                assert isinstance(metas, Meta)
                _check_inside(source, meta, metas)
            return _view(source, meta, metas)
        return self.call(op, OpCall(row_name(op), arguments, metas, self.space.origin))

    def call(self, op: OpOverload, call: OpCall) -> Bound:
        """Lower one call of an operator; the result is a reference, or a list of them."""
        one = foreach.one_tensor(op) if foreach.is_foreach(op) else None
        if one is not None:
            return self._each(op, one, call)
        if writes_to_outputs(op):
            return self._to_outputs(op, call)
        if op._schema.is_mutable:
            return self._in_place(op, call)
        lower = self.table.get(call.name)
        return self._decomposed(op, call) if lower is None else self._placed(lower(self.space, call), call)

    def _placed(self, outcome: Outcome, call: OpCall) -> Bound:
        if isinstance(outcome, Value):
            return self.space.placed(outcome, call.meta)
        if isinstance(outcome, Ref) or outcome is None:
            return outcome
        placed: list[Bound] = []
        for one, meta in zip(outcome, call.all_metas, strict=False):
            placed.append(self.space.placed(one, meta) if one is not None and meta is not None else None)
        return placed

    def _each(self, op: OpOverload, one: foreach.OneTensor, call: OpCall) -> list[Bound]:
        """An operator on lists, tensor by tensor."""
        values = [call[argument.name] for argument in op._schema.arguments]
        results = []
        for number, arguments in enumerate(foreach.element_arguments(one, values)):
            meta = arguments["self"].meta if one.op._schema.is_mutable else call.all_metas[number]
            results.append(self.call(one.op, OpCall(row_name(one.op), arguments, meta, call.origin)))
        return results

    def _decomposed(self, op: OpOverload, call: OpCall) -> Bound:
        graph, tensors = self.decomposer(op, call.arguments)
        if graph is None:
            return self._placed(self.otherwise(self.space, call, op), call)
        results = self.inline(graph, tensors)
        return results if isinstance(call.metas, tuple) else results[0]

    def _in_place(self, op: OpOverload, call: OpCall) -> Bound:
        """By its own row, or by the operator that returns what this one writes."""
        written = [a.name for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        if len(written) != 1 or not isinstance(call[written[0]], Ref):
            return self._several_in_place(op, call, written)
        target = call.ref(written[0])
        plain = functional(op)
        lower = self.table.get(call.name)
        if lower is None and plain is not None:
            call = replace(call, name=row_name(plain))
            lower = self.table.get(call.name)
        if lower is not None:
            result = self._placed(lower(self.space, call), call)
        elif plain is not None:
            graph, tensors = self.decomposer(plain, call.arguments)
            result = None if graph is None else self.inline(graph, tensors)[0]
        else:
            result = None
        if not isinstance(result, Ref):
            raise self._missing(op)
        self.space.write(target, result)
        return target

    def _to_outputs(self, op: OpOverload, call: OpCall) -> Bound:
        """By the operator that returns what this one writes to given tensors."""
        plain = functional(op)
        if plain is None:
            raise self._missing(op)
        targets = [call.ref(argument.name) for argument in op._schema.arguments if argument.is_out]
        arguments = {a.name: call[a.name] for a in plain._schema.arguments}
        metas = metas_of(plain, arguments)
        result = self.call(plain, OpCall(row_name(plain), arguments, metas, call.origin))
        for target, source in zip(targets, result if isinstance(result, list) else [result], strict=True):
            if target.shape != source.shape:
                raise UnsupportedError(f"{row_name(op)} to a tensor of another shape, at {self.space.origin}")
            self.space.write(target, source)
        return targets if isinstance(result, list) else targets[0]

    def _several_in_place(self, op: OpOverload, call: OpCall, written: Sequence[str]) -> Bound:
        """By the operator that returns what this one writes, after its own results."""
        packet = getattr(torch.ops.aten, op._schema.name.partition("::")[2] + "_functional", None)
        graph, tensors = (None, []) if packet is None else self.decomposer(packet.default, call.arguments)
        if graph is None:
            raise self._missing(op)
        results = self.inline(graph, tensors)
        count = len(results) - len(written)
        for name, change in zip(written, results[count:], strict=True):
            assert isinstance(change, Ref)
            self.space.write(call.ref(name), change)
        return results[:count]

    def _missing(self, op: OpOverload) -> UnsupportedError:
        where = f", at {self.space.origin}" if self.space.origin else ""
        return UnsupportedError(f"the operator {row_name(op)}{where}")


def _input(tensor: Tensor, index: int) -> Input:
    check_dtype(tensor.dtype)
    if not tensor.is_cpu:
        raise UnsupportedError(f"an input on {tensor.device}")
    whole = layout(tuple(tensor.shape), tensor.stride())
    return Input(tensor.dtype, whole.dims, whole.strides, index=index)


def _item(node: Node, env: dict[Node, Bound]) -> Bound:
    """One of several results."""
    source, index = node.args
    several = env[source] if isinstance(source, Node) else None
    if getattr(node.target, "__name__", "") != "getitem" or not isinstance(several, list | tuple):
        raise UnsupportedError(f"a call of {node.target}")
    assert isinstance(index, int)
    return several[index]


def _viewed(node: Node, metas: Metas) -> Node | None:
    """The argument whose memory the result lies in."""
    first = metas[0] if isinstance(metas, tuple) and metas else metas
    if not isinstance(first, Meta):
        return None
    for arg in node.all_input_nodes:
        other = arg.meta.get("ember")
        if isinstance(other, Meta) and other.storage == first.storage:
            return arg
    return None


def _check_inside(ref: Ref, base: Meta, meta: Meta) -> None:
    """Any place in memory can be asked for; what a value does not cover is lost when it is written."""
    value = ref.memory.value
    start = ref.offset + meta.offset - base.offset
    end = start + sum((size - 1) * stride for size, stride in zip(meta.shape, meta.stride, strict=True))
    dense = value.numel == value.extent
    if math.prod(meta.shape) and not (dense and start >= 0 and end < value.extent):
        raise UnsupportedError(
            "as_strided of elements that lie between those of the tensor, or outside of it"
        )


def _view(ref: Ref, base: Meta, meta: Metas) -> Bound:
    if isinstance(meta, tuple):
        return [_view(ref, base, one) for one in meta]
    if meta is None or meta.dtype != ref.dtype:
        raise UnsupportedError("a view of another dtype")
    return Ref(ref.memory, ref.offset + meta.offset - base.offset, meta.shape, meta.stride, ref.dtype)


def _resolve(value: object, env: dict[Node, Bound]) -> Bound:
    if isinstance(value, Node):
        return env[value]
    return [_resolve(item, env) for item in value] if isinstance(value, list | tuple) else value
