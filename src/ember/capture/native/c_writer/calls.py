"""Calls as C: functions of the headers, torch, and copies between many places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ember.capture.native.c_writer import torch_calls
from ember.capture.native.c_writer.c_text import terms, total
from ember.capture.native.c_writer.places import OWN, Places, Pointers
from ember.capture.native.torch_side.extern_call import Buffer, ExternCall
from ember.capture.native.torch_side.externs import Externs
from ember.capture.native.values.arrays import Access, Value
from ember.capture.native.values.calls import (
    Collect,
    HeaderCall,
    LibraryCall,
    Operator,
    Result,
    SamplerCall,
    Spread,
    TorchCall,
    filled,
)
from ember.capture.native.values.dtypes import DTYPES, Number, c_type
from ember.capture.native.values.layout import Dims


class CallWriter:
    """Writes calls, and collects those of torch."""

    def __init__(self, places: Places, externs: Externs) -> None:
        self.places = places
        self.externs = externs

    def sampler(self, call: SamplerCall, memory: Pointers) -> list[str]:
        """A call of a sampler, under the generator's lock; where it refuses to draw, of torch, which takes that itself."""
        drawn = [result for result in call.outputs if result is not call.scratch]
        arguments = [
            "g",
            *(f"({memory.start(self.places.base(a.value))} + {a.offset})" for a in call.inputs),
            *(memory.start(self.places.base(result)) for result in drawn),
            *map(_number, call.numbers),
        ]
        if call.scratch is not None:
            arguments.append(memory.start(self.places.base(call.scratch)))
        text = f"{_function(call)}({', '.join(arguments)})"
        if call.fallback is None:
            return ["ember_lock();", f"{text};", "ember_unlock();"]
        instead = self._extern(call.fallback, call.inputs, call.input_dims, drawn)
        return [
            "{",
            *("ember_lock();", f"const int refused = {text};", "ember_unlock();"),
            f"if (refused && {instead}) {{ *failed = 1; return; }}",
            "}",
        ]

    def library(self, call: LibraryCall, memory: Pointers) -> list[str]:
        """A call of a function of the headers at each index of a batch; where it refuses, of torch."""
        depth = len(call.batch)
        loops, names = _inner_loops(call.batch)
        read = [(a.value, a.offset, a.strides) for a in call.inputs]
        filled = [(result, 0, strides) for result, strides in zip(call.outputs, call.layouts, strict=True)]
        arguments = []
        for value, offset, strides in (*read, *filled):
            place = total(offset, terms(strides[:depth], names))
            arguments += [f"({memory.start(self.places.base(value))} + {place})", *map(str, strides[depth:])]
        text = f"{_function(call)}({', '.join([*arguments, *map(_number, call.numbers)])});"
        if call.fallback is None:
            return [f"{loops} {text}"]
        instead = self._extern(call.fallback, call.inputs, call.input_dims, call.outputs)
        return [
            "{",
            "int refused = 0;",
            f"{loops} refused |= {text}",
            f"if (refused && {instead}) {{ *failed = 1; return; }}",
            "}",
        ]

    def torch(self, call: TorchCall) -> list[str]:
        """A call of torch, on our memory."""
        text = self._extern(call.operator, call.inputs, call.input_dims, call.outputs)
        return [f"if ({text}) {{ *failed = 1; return; }}"]

    def _extern(
        self, runs: Operator, inputs: Sequence[Access], input_dims: Sequence[Dims], results: Sequence[Result]
    ) -> str:
        buffers = [
            self._buffer(access.value, access.offset, dims, access.strides)
            for access, dims in zip(inputs, input_dims, strict=True)
        ]
        remaining = iter(results)
        outputs = [
            None if shape is None else self._buffer(next(remaining), 0, *shape) for shape in runs.shapes
        ]
        arguments = [filled(argument, buffers.__getitem__) for argument in runs.arguments]
        named = {name: filled(argument, buffers.__getitem__) for name, argument in runs.named.items()}
        number = self.externs.add(ExternCall(runs.op, tuple(arguments), named, tuple(outputs)))
        return f"{torch_calls.name(number)}(E)"

    def _buffer(self, value: Value, offset: int, sizes: Dims, strides: Dims) -> Buffer:
        return Buffer(self.places.where(value, offset), value.dtype, sizes, strides)

    def collect(self, call: Collect, memory: Pointers) -> list[str]:
        """Copy pieces from many places to one after another."""
        whole = call.outputs[0]
        loops, names = _inner_loops(whole.dims[1:])
        source = total(0, terms(call.inputs[0].strides, names))
        target = memory.element(self.places.base(whole), 0, terms(whole.strides, ["k", *names]))
        return [
            "{",
            self._table([(access.value, access.offset) for access in call.inputs]),
            *_pieces(whole.dims[0], f"const {c_type(whole.dtype)}"),
            f"{loops} {target} = s[{source}];",
            "}",
            "}",
        ]

    def spread(self, call: Spread, memory: Pointers) -> list[str]:
        """Copy pieces of one value to many inputs."""
        old = call.targets
        source = call.inputs[0].value
        loops, names = _inner_loops(old[0].dims)
        offsets = ",".join(str(access.offset) for access in call.inputs)
        read = memory.element(self.places.base(source), 0, ["O[k]", *terms(call.inputs[0].strides, names)])
        target = total(0, terms(old[0].strides, names))
        return [
            "{",
            self._table([(value, 0) for value in old]),
            f"static const int32_t O[{len(old)}] = {{{offsets}}};",
            *_pieces(len(old), c_type(source.dtype)),
            f"{loops} s[{target}] = {read};",
            "}",
            "}",
        ]

    def _table(self, pieces: Sequence[tuple[Value, int]]) -> str:
        """Where several pieces lie: behind which pointer, and how many bytes from there."""
        rows = [f"{{{pointer},{place}}}" for pointer, place in self._where(pieces)]
        return f"static const struct {{ int32_t input, place; }} T[{len(rows)}] = {{{','.join(rows)}}};"

    def _where(self, pieces: Sequence[tuple[Value, int]]) -> Iterator[tuple[int, int]]:
        return (self.places.where(value, offset) for value, offset in pieces)


def _pieces(count: int, kind: str) -> list[str]:
    return [
        f"for (int64_t k = 0; k < {count}; k++) {{",
        f"{kind} *const s = ({kind} *)((T[k].input == {OWN} ? A : (char *)P[T[k].input]) + T[k].place);",
    ]


def _inner_loops(dims: Dims) -> tuple[str, list[str]]:
    names = [f"i{d}" for d in range(len(dims))]
    loops = [f"for (int64_t {n} = 0; {n} < {size}; {n}++)" for n, size in zip(names, dims, strict=True)]
    return " ".join(loops), names


def _function(call: HeaderCall) -> str:
    return "_".join(["ember", call.function, *(DTYPES[dtype].sampled for dtype in call.dtypes)])


def _number(number: Number) -> str:
    return number.hex() if isinstance(number, float) else repr(number)
