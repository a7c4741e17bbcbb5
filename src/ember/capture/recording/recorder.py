"""Recording a run: each aten operator, below autograd, is executed on the tensors and written down.

The record is a :class:`torch.fx.Graph` in which nothing is traced or guessed: operators in their order, with the layouts
(:class:`~ember.capture.recording.meta.Meta`) and origins that they had in that run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.fx import Graph, Node

from ember.capture.recording.asked import MOST_BYTES, Asked, noted, whole
from ember.capture.recording.assumptions import CURRENT, Assumptions
from ember.capture.recording.meta import Meta, Source, Storage, Tracked, meta_of
from ember.capture.recording.mutation_guard import MutationGuard
from ember.capture.recording.odd_cases import Answers, finds_odd_cases
from ember.capture.recording.operators import Operator, operator_facts, tensors_in
from ember.capture.recording.provenance import Origins
from ember.capture.recording.value_guard import ShapeOfValuesError, ValueTakenError
from ember.errors import CaptureError, Reason
from ember.torch_private.operators import TorchDispatchMode, plain_dispatch

aten = torch.ops.aten
_PUTS = (aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
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
        num_arguments: how many inputs, the last ones, do not change from one operator of a step to the next: the run may ask for
            values that follow from them, and from tensors found outside. None if it may not ask at all.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        decompositions: dict[Any, Callable[..., Any]],
        origins: Origins,
        num_arguments: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.guard = MutationGuard()
        self.lifted: list[tuple[Tensor, Record]] = []
        """Tensors that the run reached, but neither made nor was given, in the order in which it did."""
        self._decompositions = decompositions
        self._answers = Answers()
        self._origins = origins
        self._records: list[Record] = []
        self._tracked: Tracked[Record] = Tracked()
        self._outside = Source.VARIES if num_arguments is None else Source.GIVEN
        self._num_fixed = len(inputs) - (num_arguments or 0)
        self._inputs = [
            (tensor, self._from_outside(tensor, Source.VARIES if index < self._num_fixed else self._outside))
            for index, tensor in enumerate(inputs)
        ]
        self._log: list[Record] = []
        """Operators on values that do not vary, and what was asked of these."""
        self._questions: dict[int, Hashable] = {}
        self._picked: dict[int, Record] = {}
        """Masks by which something was picked."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch wraps each dispatch in a check that only its own compiler needs.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if types and not all(kind.__torch_dispatch__ is plain_dispatch for kind in types):
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
            return self._shaped_by_values(func, args, kwargs)
        if func in _PUTS and (places := self._places_put(args[1])) is not None:
            return self._run_again(func, (args[0], places, *args[2:]), kwargs)
        if facts.reads_values:
            return self._read_value(func, args, kwargs)
        return self._record(func, facts, args, kwargs)

    def _run_again(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mode: AbstractContextManager[Any] = self
        with mode:
            return function(*args, **kwargs)

    def _read_value(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A value may be fixed in the graph if it follows from numbers that the program wrote, or is compared in later calls."""
        tensors = tensors_in((*args, *kwargs.values()))
        source = min((self._known(tensor)[1].source for tensor in tensors), default=Source.CONSTANT)
        if source == Source.VARIES:
            assumptions = CURRENT.assumptions
            if assumptions is not None and finds_odd_cases(func, args, self._known(args[0])[0]):
                return self._granted(assumptions, func, args)
            raise ValueTakenError(f"aten._local_scalar_dense: {func} of a tensor")
        value = func(*args, **kwargs)
        if source == Source.GIVEN:
            uses: list[Record] = []
            given = [self._given(part, uses, []) for part in args]
            named = {name: self._given(part, uses, []) for name, part in kwargs.items()}
            question = Record(func, given, named, uses, self._origins.of_current())
            self._log.append(question)
            self._questions[id(question)] = noted(value)
        return value

    def _granted(self, assumptions: Assumptions, func: Any, args: Any) -> bool:
        """The answer, which later runs take for granted."""
        value = bool(func(*args))
        if not self._answers.add(self._origins.of_current(), value):
            raise ValueTakenError(f"{func} of a tensor, in a loop that waits for the answer")
        if func is not aten.equal.default:
            self._run_again(assumptions.turn, (args[0], value), {})
        elif args[0].shape == args[1].shape:
            self._run_again(lambda one, other: assumptions.turn((one == other).all(), value), args, {})
        return value

    def ask(self, tensor: Tensor) -> None:
        """The run looks at all that is in a tensor.

        Raises:
            ValueTakenError: if that varies, or is too much to be compared in later calls.
        """
        if tensor.numel() * tensor.element_size() > MOST_BYTES:
            raise ValueTakenError("aten._local_scalar_dense: all values of a large tensor")
        self._read_value(whole, (tensor,), {})

    def _shaped_by_values(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operator whose result has a shape that depends on values: these are asked for, and the result is fixed."""
        if func is aten.masked_select.default:
            return self._run_again(_masked_select, args, kwargs)
        try:
            if func is aten.index.Tensor:
                return self._run_again(func, (args[0], self._places(args[1])), kwargs)
            return self._fixed(func, args, kwargs)
        except ValueTakenError as error:
            raise ShapeOfValuesError(f"{func}: masked_select, nonzero or boolean indexing") from error

    def _places_put(self, indices: Sequence[Tensor | None]) -> list[Tensor | None] | None:
        """The places of what is written through masks by which something was picked, as in its gradient."""
        masks = [index for index in indices if _is_mask(index)]
        if not masks or not all(id(self._known(mask)[0]) in self._picked for mask in masks):
            return None
        return self._places(indices)

    def _places(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Indices with integers in place of masks."""
        found: list[Tensor | None] = []
        for index in indices:
            if not _is_mask(index):
                found.append(index)
                continue
            self.ask(index)
            mask = self._known(index)[0]
            self._picked[id(mask)] = mask
            for place in index.nonzero().unbind(-1):
                whole_numbers = place.contiguous()
                self._lift(whole_numbers, Source.CONSTANT)
                found.append(whole_numbers)
        return found

    def _fixed(self, func: Any, args: Any, kwargs: Any) -> Any:
        for tensor in tensors_in((*args, *kwargs.values())):
            self.ask(tensor)
        result = func(*args, **kwargs)
        for tensor in tensors_in((result,)):
            self._lift(tensor, Source.CONSTANT)
        return result

    def _record(self, func: Any, facts: Operator, args: Any, kwargs: Any) -> Any:
        origin = self._origins.of_current()
        if func is aten.lift_fresh.default:
            return self._literal(args[0], origin)
        uses: list[Record] = []
        storages: list[Storage] = []
        given = [self._given(value, uses, storages) for value in args]
        given_by_name = {name: self._given(value, uses, storages) for name, value in kwargs.items()}
        given_values = bool(storages) or facts.fills_memory
        source = Source.VARIES
        if given_values and not facts.is_random:
            source = min((storage.source for storage in storages), default=Source.CONSTANT)
        written = (
            [self._tracked.storage(tensor) for tensor in facts.written_tensors(args, kwargs)]
            if facts.written
            else []
        )
        if not all(storage.own for storage in written):
            source = Source.VARIES
        for tensor in facts.written_tensors(args, kwargs) if facts.written else ():
            storage = self._tracked.storage(tensor)
            storage.source = min(storage.source, source)
            if not storage.own:
                self.guard.save(tensor)
        result = func(*args, **kwargs)
        if func in _SAME_TENSOR:
            self._track(result, uses[0], source)
            return result
        record = Record(facts.recorded_as, tuple(given), given_by_name, uses, origin)
        record.kept = facts.is_kept
        self._append(record, source)
        record.meta = self._result(result, record, source)
        return result

    def _append(self, record: Record, source: Source) -> None:
        self._records.append(record)
        if source != Source.VARIES and self._outside != Source.VARIES:
            self._log.append(record)

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

    def _result(self, result: Any, record: Record, source: Source) -> Any:
        """Note which record the results belong to; returns their metas."""
        if isinstance(result, Tensor):
            return self._track(result, record, source)
        if not isinstance(result, (list, tuple)):
            return None
        metas = []
        for index, part in enumerate(result):
            item = Record(operator.getitem, (record, index), {}, [record], record.origin)
            self._append(item, source)
            item.meta = self._result(part, item, source)
            metas.append(item.meta)
        return tuple(metas)

    def _track(self, tensor: Tensor, record: Record, source: Source = Source.VARIES) -> Meta:
        if tensor.layout != torch.strided:
            raise CaptureError(
                "the step cannot be captured: it makes a sparse tensor, such as the gradient of a sparse embedding\n"
                "The way out: use dense ones (sparse=False), or run eagerly (compile=False).",
                Reason.SPARSE,
            )
        storage = self._tracked.storage(tensor, own=True)
        if not storage.tensors:
            storage.source = source
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
        self._append(record, Source.CONSTANT)
        record.meta = self._track(result, record, Source.CONSTANT)
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

    def _lift(self, tensor: Tensor, source: Source | None = None) -> Record:
        record = self._from_outside(tensor, self._outside if source is None else source)
        self.lifted.append((tensor, record))
        return record

    def _from_outside(self, tensor: Tensor, source: Source) -> Record:
        record = Record("placeholder", (), {}, [], "")
        storage: Storage = self._tracked.storage(tensor)
        if not storage.tensors:
            storage.source = source
        self._tracked.put(tensor, storage, record)
        record.meta = meta_of(tensor, storage)
        return record

    def asked(self) -> Asked | None:
        """What the run has asked; None if it is nothing.

        Raises:
            ValueTakenError: if it has changed the tensors later on: in many steps without Python they would be others.
        """
        if not self._questions:
            return None
        arguments = [record for _, record in self._inputs[self._num_fixed :]]
        asked = Asked(self._log, self._questions, arguments, self.lifted)
        for tensor, record in (*self._inputs, *self.lifted):
            if asked.reads(record) and self.guard.has_changed(tensor):
                raise ValueTakenError("aten._local_scalar_dense: a value of a tensor that the step changes")
        return asked

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether a tensor follows from numbers that the program wrote."""
        return self._known(tensor)[1].source == Source.CONSTANT

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


def _is_mask(index: Tensor | None) -> TypeGuard[Tensor]:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _masked_select(value: Tensor, mask: Tensor) -> Any:
    value, mask = torch.broadcast_tensors(value, mask)  # type: ignore[no-untyped-call]
    return aten.index.Tensor(value, [mask])


def _nodes(value: Any) -> Any:
    if isinstance(value, Record):
        return value.node
    if isinstance(value, (list, tuple)):
        return type(value)(_nodes(part) for part in value)
    return value
