"""Calls of torch from a generated program, for operators that it does not write as loops.

A product of matrices goes to torch's C interface, and a triangular system or a Cholesky factor to the function of BLAS or LAPACK
that torch calls. Everything else is a Python object without arguments, made when the program is
bound, that runs the operator on tensors over the program's memory; its errors are the exceptions that torch raises.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ember.capture.native.torch_side.extern_call import Buffer, ExternCall
from ember.capture.native.torch_side.lapack import Routine, routine
from ember.capture.native.torch_side.torch_interface import Handle, function_address, tensor_at

aten = torch.ops.aten
_FLOATS = (torch.float32, torch.float64)
_PRODUCTS = {
    aten.mm.default: "aoti_torch_cpu_mm_out",
    aten.bmm.default: "aoti_torch_cpu_bmm_out",
}
_SUMS_AND_PRODUCTS = {
    aten.addmm.default: "aoti_torch_cpu_addmm_out",
    aten.baddbmm.default: "aoti_torch_cpu_baddbmm_out",
}
_FIRST = 2


class Way(Enum):
    """How a call reaches torch."""

    PYTHON = "by a Python object"
    PRODUCT = "by the C function of a product of matrices"
    SUM_AND_PRODUCT = "by the C function of a sum of a matrix and a product"
    ROUTINE = "by a function of BLAS or LAPACK"


@dataclass(frozen=True)
class Entry:
    """A call, and the first of its words in the table of a :class:`Binding`."""

    call: ExternCall
    first: int
    way: Way
    routine: Routine | None = None
    """The function of BLAS or LAPACK."""


class Externs:
    """The calls of one program, and what binds them to memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._buffers: dict[Buffer, int] = {}
        self._words = _FIRST

    def add(self, call: ExternCall) -> int:
        """The number of the call."""
        found = routine(call)
        way = _way(call) if found is None else Way.ROUTINE
        self.entries.append(Entry(call, self._words, way, found))
        self._words += 1 if way is Way.PYTHON else 1 + len(_tensors(call, found)) + 1
        for buffer in _buffers_of(call):
            self._buffers.setdefault(buffer, len(self._buffers))
        return len(self.entries) - 1

    @property
    def buffers(self) -> list[Buffer]:
        """The different buffers of the calls, in the order in which :meth:`bind` takes their addresses."""
        return [*self._buffers]

    def bind(self, addresses: Sequence[int]) -> Binding:
        """The calls on memory at these addresses (0 or None for a buffer without elements)."""
        return Binding([*self._buffers], self.entries, self._words, addresses)


class Binding:
    """The table ``E`` of a program whose buffers lie at given addresses.

    The caller keeps that memory alive, and this object for as long as the table is in use.
    """

    def __init__(
        self,
        buffers: list[Buffer],
        entries: Sequence[Entry],
        words: int,
        addresses: Sequence[int],
    ) -> None:
        self.table = (ctypes.c_void_p * words)()
        self._buffers = buffers
        self._entries = entries
        self._addresses: list[int] = []
        self._used = [set(_buffers_of(entry.call)) for entry in entries]
        self._tensors: dict[Buffer, Tensor] = {}
        self._handles: dict[Buffer, Handle] = {}
        self._callables: list[Callable[[], Any] | None] = [None] * len(entries)
        api = ctypes.pythonapi
        self.table[0] = ctypes.cast(api.PyObject_CallNoArgs, ctypes.c_void_p).value
        self.table[1] = ctypes.cast(api.Py_DecRef, ctypes.c_void_p).value
        weakref.finalize(self, _close, self._handles)
        self.move(addresses)

    def move(self, addresses: Sequence[int]) -> None:
        """Take other addresses for the buffers. Only the calls that use one which has moved are made anew."""
        addresses = [address or 0 for address in addresses]
        known: Sequence[int | None] = self._addresses or [None] * len(addresses)
        moved = {
            buffer: address
            for buffer, address, old in zip(self._buffers, addresses, known, strict=True)
            if address != old
        }
        for buffer, address in moved.items():
            handle = self._handles.pop(buffer, None)
            if handle is not None:
                handle.close()
            self._tensors[buffer] = tensor_at(address, buffer.dtype, buffer.sizes, buffer.strides)
        for number, entry in enumerate(self._entries):
            if moved.keys() & self._used[number] or not self._addresses:
                self._callables[number] = self._fill(entry)
        self._addresses = addresses

    def _fill(self, entry: Entry) -> Callable[[], object]:
        call, first = entry.call, entry.first
        find = self._tensors.__getitem__
        args = _replace_buffers(call.args, find)
        kwargs = {name: _replace_buffers(value, find) for name, value in call.kwargs.items()}
        function = _callable(call.op, args, kwargs, _replace_buffers(call.outputs, find))
        if entry.routine is not None:
            self.table[first] = function_address(entry.routine.function) or None
            for position, buffer in enumerate(entry.routine.buffers):
                self.table[first + 1 + position] = find(buffer).data_ptr()
            first += 1 + len(entry.routine.buffers)
        elif entry.way is not Way.PYTHON:
            operands = [self._handle(buffer) for buffer in _tensors_of_product(call)]
            # Without all of its handles the call goes through Python.
            self.table[first] = function_address(_c_function(call)) if all(operands) else None
            for position, address in enumerate(operands):
                self.table[first + 1 + position] = address
            first += 1 + len(operands)
        # In CPython an object's identity is its address.
        self.table[first] = id(function)
        return function

    def _handle(self, buffer: Buffer) -> int:
        if buffer not in self._handles:
            self._handles[buffer] = Handle(self._tensors[buffer])
        return self._handles[buffer].address


def _close(handles: dict[Buffer, Handle]) -> None:
    for handle in handles.values():
        handle.close()
    handles.clear()


def _buffers_of(call: ExternCall) -> list[Buffer]:
    found: list[Buffer] = []
    _replace_buffers((call.args, tuple(call.kwargs.values()), call.outputs), found.append)
    return found


def _c_function(call: ExternCall) -> str:
    return _PRODUCTS.get(call.op) or _SUMS_AND_PRODUCTS[call.op]


def _tensors(call: ExternCall, found: Routine | None) -> Sequence[Buffer]:
    """Those whose addresses are in the table."""
    return _tensors_of_product(call) if found is None else found.buffers


def _tensors_of_product(call: ExternCall) -> list[Buffer]:
    return [*(buffer for buffer in call.outputs if buffer is not None), *call.args]


def _way(call: ExternCall) -> Way:
    if call.op in _PRODUCTS:
        way, count = Way.PRODUCT, 3
    elif call.op in _SUMS_AND_PRODUCTS:
        way, count = Way.SUM_AND_PRODUCT, 4
    else:
        return Way.PYTHON
    buffers = _tensors_of_product(call)
    fit = len(buffers) == count and all(isinstance(b, Buffer) and b.dtype in _FLOATS for b in buffers)
    return way if fit else Way.PYTHON


def _callable(
    op: Any, args: Sequence[Any], kwargs: dict[str, Any], outputs: Sequence[Tensor | None]
) -> Callable[[], Any]:
    names = _writing_overload(op)
    if names is not None and len(names[1]) == len(outputs) and all(out is not None for out in outputs):
        overload, out_names = names
        return partial(_bare(overload), *args, **kwargs, **dict(zip(out_names, outputs, strict=True)))
    return partial(_run_and_copy, partial(_bare(op), *args, **kwargs), tuple(outputs))


def _bare(op: Any) -> Callable[..., Any]:
    """What an overload calls: a third of a small operator's time is spent on the way there."""
    bare: Callable[..., Any] = getattr(op, "_op", op)
    return bare


def _run_and_copy(run: Callable[[], Any], outputs: tuple[Tensor | None, ...]) -> None:
    results = run()
    if not isinstance(results, (tuple, list)):
        results = (results,)
    for output, result in zip(outputs, results, strict=False):
        if output is not None:
            output.copy_(result)


@cache
def _writing_overload(op: Any) -> tuple[Any, tuple[str, ...]] | None:
    """The overload that writes to given tensors, and the names by which it takes them."""
    schema = op._schema
    if schema.is_mutable:
        return None
    wanted = [(argument.name, str(argument.type)) for argument in schema.arguments]
    packet = op.overloadpacket
    for name in packet.overloads():
        other = getattr(packet, name)
        out = [argument.name for argument in other._schema.arguments if argument.is_out]
        rest = [(a.name, str(a.type)) for a in other._schema.arguments if not a.is_out]
        if out and len(out) == len(schema.returns) and rest == wanted:
            return other, tuple(out)
    return None


def _replace_buffers(value: Any, replace: Callable[[Buffer], Any]) -> Any:
    if isinstance(value, Buffer):
        return replace(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_replace_buffers(part, replace) for part in value)
    return value
