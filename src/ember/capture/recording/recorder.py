"""Recording a run: each aten operator, below autograd, is executed on the tensors and written down.

The record is a :class:`torch.fx.Graph` in which nothing is traced or guessed: operators in their order, with the layouts
(:class:`~ember.capture.recording.meta.Meta`) and origins that they had in that run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.utils._python_dispatch import TorchDispatchMode

from ember.capture.recording.meta import Meta, Storage, Tracked, meta_of
from ember.capture.recording.mutation_guard import MutationGuard
from ember.capture.recording.operators import Operator, operator_facts, tensors_in
from ember.capture.recording.provenance import Origins
from ember.capture.recording.value_guard import ShapeOfValuesError, ValueTakenError
from ember.errors import CaptureError, Reason

aten = torch.ops.aten
_PLAIN = torch._C._disabled_torch_dispatch_impl
_SAME_TENSOR = (aten.detach.default, aten.alias.default)


class Record:
    """One operator of the run. Nodes are made of those that matter, when the run is over."""

    __slots__ = ("args", "assumed", "kept", "kwargs", "meta", "node", "origin", "target", "used", "uses")

    def __init__(self, target: Any, args: Any, kwargs: Any, uses: list[Record], origin: str) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.uses = uses
        self.origin = origin
        self.meta: Any = None
        self.kept = False
        self.assumed = False
        """Whether the run relies on its being true."""
        self.used = False
        self.node: Node | None = None


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Executes and records all operators under it.

    Args:
        inputs: tensors that become the graph's first placeholders.
        decompositions: functions to call in place of some operators; they may return NotImplemented.
        origins: where operators come from.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        decompositions: dict[Any, Callable[..., Any]],
        origins: Origins,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.guard = MutationGuard()
        self.lifted: list[tuple[Tensor, Record]] = []
        """Tensors that the run reached, but neither made nor was given, in the order in which it did."""
        self._decompositions = decompositions
        self._origins = origins
        self._records: list[Record] = []
        self._tracked: Tracked[Record] = Tracked()
        self._inputs = [(tensor, self._from_outside(tensor)) for tensor in inputs]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch wraps each dispatch in a check that only its own compiler needs.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if types and not all(kind.__torch_dispatch__ is _PLAIN for kind in types):
            return NotImplemented
        replacement = self._decompositions.get(func)
        if replacement is not None:
            result = self._run_again(replacement, args, kwargs)
            if result is not NotImplemented:
                return result
        facts: Operator = operator_facts(func)
        if facts.is_composed(args):
            return self._run_again(func.decompose, args, kwargs)
        if facts.has_shape_of_values(args):
            raise ShapeOfValuesError(f"{func}: masked_select, nonzero or boolean indexing")
        if facts.reads_values:
            return self._read_value(func, args, kwargs)
        return self._record(func, facts, args, kwargs)

    def _run_again(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mode: AbstractContextManager[Any] = self
        with mode:
            return function(*args, **kwargs)

    def _read_value(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A value may be fixed in the graph only if it follows from numbers that the program wrote."""
        for tensor in tensors_in((*args, *kwargs.values())):
            if not self._known(tensor)[1].constant:
                raise ValueTakenError(f"aten._local_scalar_dense: {func} of a tensor")
        return func(*args, **kwargs)

    def _record(self, func: Any, facts: Operator, args: Any, kwargs: Any) -> Any:
        origin = self._origins.of_current()
        if func is aten.lift_fresh.default:
            return self._literal(args[0], origin)
        uses: list[Record] = []
        storages: list[Storage] = []
        given = [self._given(value, uses, storages) for value in args]
        given_by_name = {name: self._given(value, uses, storages) for name, value in kwargs.items()}
        given_values = bool(storages) or facts.fills_memory
        constant = given_values and not facts.is_random and all(storage.constant for storage in storages)
        for tensor in facts.written_tensors(args, kwargs) if facts.written else ():
            storage = self._tracked.storage(tensor)
            storage.constant = storage.constant and constant
            if not storage.own:
                self.guard.save(tensor)
        result = func(*args, **kwargs)
        if func in _SAME_TENSOR:
            self._track(result, uses[0], constant)
            return result
        record = Record(facts.recorded_as, tuple(given), given_by_name, uses, origin)
        record.kept = facts.is_kept
        self._records.append(record)
        record.meta = self._result(result, record, constant)
        return result

    def _given(self, value: Any, uses: list[Record], storages: list[Storage]) -> Any:
        """An argument with records in place of tensors."""
        if isinstance(value, Tensor):
            record, storage = self._known(value)
            uses.append(record)
            storages.append(storage)
            return record
        if isinstance(value, (list, tuple)):
            return [self._given(part, uses, storages) for part in value]
        if isinstance(value, torch.Generator):
            raise CaptureError(
                "the step cannot be captured: it draws from a generator of its own\n"
                "The way out: draw from torch's default generator, or run eagerly (compile=False).",
                Reason.OWN_GENERATOR,
            )
        return value

    def _result(self, result: Any, record: Record, constant: bool) -> Any:
        """Note which record the results belong to; returns their metas."""
        if isinstance(result, Tensor):
            return self._track(result, record, constant)
        if not isinstance(result, (list, tuple)):
            return None
        metas = []
        for index, part in enumerate(result):
            item = Record(operator.getitem, (record, index), {}, [record], record.origin)
            self._records.append(item)
            item.meta = self._result(part, item, constant)
            metas.append(item.meta)
        return tuple(metas)

    def _track(self, tensor: Tensor, record: Record, constant: bool = False) -> Meta:
        if tensor.layout != torch.strided:
            raise CaptureError(
                "the step cannot be captured: it makes a sparse tensor, such as the gradient of a sparse embedding\n"
                "The way out: use dense ones (sparse=False), or run eagerly (compile=False).",
                Reason.SPARSE,
            )
        storage = self._tracked.storage(tensor, own=True)
        if not storage.tensors:
            storage.constant = constant
        self._tracked.put(tensor, storage, record)
        return meta_of(tensor, storage)

    def _literal(self, value: Tensor, origin: str) -> Tensor:
        """A tensor made of numbers in the program: one number stands in the graph itself, more become an input."""
        result: Tensor = aten.lift_fresh_copy.default(value)
        known = self._tracked.find(value)
        if known is None and value.numel() == 1:
            kwargs = {"dtype": value.dtype, "device": value.device, "pin_memory": False}
            record = Record(aten.full.default, (list(value.shape), value.item()), kwargs, [], origin)
        else:
            source = known[0] if known is not None else self._lift(value)
            record = Record(aten.lift_fresh_copy.default, (source,), {}, [source], origin)
        self._records.append(record)
        record.meta = self._track(result, record, constant=True)
        return result

    def _known(self, tensor: Tensor) -> tuple[Record, Storage]:
        """The record of a tensor, and its memory. One that is not known has come from outside."""
        known = self._tracked.find(tensor)
        if known is not None and known[1].holds(tensor):
            return known
        if known is not None or self._tracked.was_made(tensor):
            raise CaptureError(
                f"the step cannot be captured: a tensor of shape {tuple(tensor.shape)} has got its values past torch's "
                "operators, as by an assignment to .data or in a subclass of Tensor\n"
                "The way out: compute it with plain tensor operations, or run eagerly (compile=False)."
            )
        return self._lift(tensor), self._tracked.storage(tensor)

    def _lift(self, tensor: Tensor) -> Record:
        record = self._from_outside(tensor)
        self.lifted.append((tensor, record))
        return record

    def _from_outside(self, tensor: Tensor) -> Record:
        record = Record("placeholder", (), {}, [], "")
        storage: Storage = self._tracked.storage(tensor)
        self._tracked.put(tensor, storage, record)
        record.meta = meta_of(tensor, storage)
        return record

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether a tensor follows from numbers that the program wrote."""
        return self._known(tensor)[1].constant

    def graph(self, outputs: Sequence[Tensor], assumed: Sequence[Tensor] = ()) -> Graph:
        """What was recorded, without operators that contribute neither to the outputs nor to any effect.

        Args:
            outputs: what the run returns.
            assumed: what it relied on; their nodes are marked.
        """
        returned = [self._known(tensor)[0] for tensor in outputs]
        for tensor in assumed:
            record = self._known(tensor)[0]
            record.kept = record.assumed = True
        self._tracked.clear()
        for record in returned:
            record.used = True
        for record in reversed(self._records):
            if record.used or record.kept:
                for other in record.uses:
                    other.used = True
        graph = Graph()
        for names, records in (("input", self._inputs), ("lifted", self.lifted)):
            for index, (_, record) in enumerate(records):
                record.node = graph.placeholder(f"{names}_{index}")
                record.node.meta["ember"] = record.meta
                record.node.meta["origin"] = f"{names} {index}"
        for record in self._records:
            if record.used or record.kept:
                record.node = graph.call_function(record.target)
                # Given to call_function, arguments would be searched for symbolic sizes, which takes most of its time.
                record.node.args = _nodes(record.args)
                if record.kwargs:
                    record.node.kwargs = {name: _nodes(value) for name, value in record.kwargs.items()}
                record.node.meta["ember"] = record.meta
                record.node.meta["origin"] = record.origin
                if record.assumed:
                    record.node.meta["assumed"] = True
        graph.output([record.node for record in returned])
        return graph


def _nodes(value: Any) -> Any:
    if isinstance(value, Record):
        return value.node
    if isinstance(value, (list, tuple)):
        return type(value)(_nodes(part) for part in value)
    return value
