"""The whole program as one C translation unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ember.capture.native.c_writer.c_text import C_TYPES, address, comment, literal
from ember.capture.native.c_writer.nest import LoopWriter
from ember.capture.native.c_writer.outline import outlined
from ember.capture.native.loops.memory import place
from ember.capture.native.loops.schedule import Kernel, Schedule
from ember.capture.native.torch_side.externs import Buffer, ExternCall, Externs
from ember.capture.native.values.arrays import Access, Call, Constant, Dims, Input, Slot, Value

# Compilers take more than linear time for very long functions.
MOST_LINES = 400
_HEADER = """\
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "ember_random.h"
#include "ember_rejection.h"
#include "ember_special.h"
"""
_RESTRICTED = "char *restrict const A, void *const *const P, ember_rng *const g, int32_t *const failed"
_SHARED = _RESTRICTED.replace("restrict ", "")
_MAIN = """\
/* Takes steps until the count is reached, a loss is not finite (if asked to stop there), or interrupted() says so; *taken is how
 * many. What is returned is 0, or what a failed call returned. */
int32_t ember_steps(void *const *P, char *A, ember_rng *g, void *const *E, int64_t count, double *losses, int64_t *taken,
                    int (*interrupted)(void), int32_t until_bad) {
    int32_t failed = 0;
    int64_t done = 0;
    while (done < count) {
        double *const now = losses + WIDTH * done;
        step(A, P, g, &failed, E, now);
        if (failed) break;
        *taken = ++done;
        int bad = 0;
        for (int i = 0; i < WIDTH; i++) bad |= until_bad && !(now[i] - now[i] == 0);
        if (bad || (interrupted && done % 16 == 0 && interrupted())) break;
    }
    return failed;
}
"""


@dataclass(frozen=True)
class Source:
    """A program in C, how much memory it works in, and its calls of torch."""

    text: str
    arena_bytes: int
    externs: Externs
    buffers: list[tuple[int, int]]
    """Where each buffer of the calls of torch lies: which input (-1: in the program's own memory), and how many bytes in."""


class Emitter:
    """Writes a schedule as C."""

    def __init__(self, schedule: Schedule, pointer_dtypes: Sequence[torch.dtype]) -> None:
        self.schedule = schedule
        self.pointer_dtypes = pointer_dtypes
        """Of the inputs, and then of the outputs but the first."""
        self.offsets, self.arena_bytes = place(schedule.stored)
        self.externs = Externs()
        self.addresses: dict[str, tuple[int, int]] = {}

    def source(self) -> Source:
        """The translation unit."""
        functions: list[str] = []
        steps: list[str] = []
        lines: list[str] = []

        def close(parameters: str) -> None:
            if lines:
                name = f"part_{len(functions)}"
                functions.append(
                    self._function(f"static __attribute__((noinline)) void {name}({parameters})", lines)
                )
                steps.extend([f"{name}(A, P, g, failed);", "if (*failed) return;"])
                lines.clear()

        blocks = [self._kernel(number, kernel) for number, kernel in enumerate(self.schedule.kernels)]
        loops = [i for i, kernel in enumerate(self.schedule.kernels) if kernel.dims]
        repeated, shortened = outlined([blocks[i] for i in loops], self._pointer_type)
        for i, lines_of_loop in zip(loops, shortened, strict=True):
            blocks[i] = lines_of_loop
        for kernel, written in zip(self.schedule.kernels, blocks, strict=True):
            # What reaches memory by another way than the pointers of a function must not stand in it: they are `restrict`.
            apart = kernel.call is not None and not kernel.call.name.startswith("ember_")
            if apart or len(lines) + len(written) > MOST_LINES:
                close(_RESTRICTED)
            if apart and kernel.call is not None and kernel.call.name == "torch":
                steps += written
                continue
            lines += written
            if apart:
                close(_SHARED)
        close(_RESTRICTED)
        tables = [self.addresses[buffer.address] for buffer in self.externs.buffers]
        step = self._function(
            f"static void step({_SHARED}, void *const *const E, double *losses)", [*steps, *self._losses()]
        )
        main = _MAIN.replace("WIDTH", str(len(self.schedule.losses)))
        text = "\n".join([_HEADER, self.externs.declarations(), *repeated, *functions, step, main])
        return Source(text, max(self.arena_bytes, 64), self.externs, tables)

    def _function(self, head: str, lines: list[str]) -> str:
        text = "\n".join(lines)
        inputs = self._used_pointers(text)
        return "\n".join([f"{head} {{", *inputs, text, "}", ""])

    def _used_pointers(self, text: str) -> list[str]:
        code = re.sub(r"/\*.*?\*/", "", text)  # comments name sites, and a site may be called x7
        used = sorted({int(name[1:]) for name in re.findall(r"\bx\d+\b", code)})
        return [f"{self._pointer_type(i)} *restrict const x{i} = P[{i}];" for i in used]

    def _pointer_type(self, index: int) -> str:
        return C_TYPES[self.pointer_dtypes[index]]

    def _losses(self) -> list[str]:
        return [f"losses[{k}] = (double)({self._element(a)});" for k, a in enumerate(self.schedule.losses)]

    def _element(self, access: Access) -> str:
        if isinstance(access.value, Constant):
            return literal(access.value.number, access.value.dtype)
        return f"{self.location(access.value)}[{access.offset}]"

    def location(self, value: Value) -> str:
        """A pointer to the memory of a value."""
        if isinstance(value, Input):
            return f"x{value.index}"
        if value in self.schedule.direct:
            return f"x{self.schedule.direct[value]}"
        return f"(({C_TYPES[value.dtype]} *)(A + {self.offsets[value]}))"

    def _is_stored(self, value: Value) -> bool:
        return value in self.schedule.direct or value in self.schedule.stored

    def _kernel(self, number: int, kernel: Kernel) -> list[str]:
        if kernel.call is not None:
            origins = dict.fromkeys(result.origin for result in kernel.call.outputs if result.origin)
            name = str(kernel.call.attributes[0]) if kernel.call.name == "torch" else kernel.call.name
            return [comment("; ".join([f"{number}: {name}", *origins])), *self._call(kernel.call)]
        body = LoopWriter(kernel, self.location, self._is_stored).write()
        dims = " x ".join(map(str, kernel.dims))
        return [
            comment(f"{number}: a loop over {dims}" if dims else f"{number}: single numbers"),
            "{",
            *body,
            "}",
        ]

    def _call(self, call: Call) -> list[str]:
        if call.name.startswith("ember_"):
            inputs = [self._address(access) for access in call.inputs]
            outputs = [self.location(value) for value in call.outputs if value not in call.attributes]
            others = [self.location(a) if isinstance(a, Value) else _attribute(a) for a in call.attributes]
            arguments = ", ".join(["g"] * call.draws + inputs + outputs + others)
            return [f"{call.name}({arguments});"]
        if call.name == "collect":
            return self._collect(call)
        if call.name == "spread":
            return self._spread(call)
        return self._torch(call)

    def _torch(self, call: Call) -> list[str]:
        """A call of torch, on our memory."""
        op, arguments, named = call.attributes
        buffers = [
            self._buffer(access.value, access.offset, dims, access.strides)
            for access, dims in zip(call.inputs, call.input_dims, strict=True)
        ]
        results = iter(call.outputs)
        outputs = tuple(
            None if shape is None else self._buffer(next(results), 0, *shape) for shape in call.shapes
        )

        def filled(value: Any) -> Any:
            if isinstance(value, Slot):
                return buffers[value.position]
            return [filled(item) for item in value] if isinstance(value, list) else value

        made = ExternCall(op, tuple(filled(arguments)), {k: filled(v) for k, v in named.items()}, outputs)
        return [f"if ({self.externs.add(made)}) {{ *failed = 1; return; }}"]

    def _buffer(self, value: Value, offset: int, sizes: Dims, strides: Dims) -> Buffer:
        index, place = self._where(value, offset)
        address = f"{'A' if index < 0 else f'P[{index}]'} + {place}"
        self.addresses[address] = (index, place)
        return Buffer(address, value.dtype, tuple(sizes), tuple(strides))

    def _where(self, value: Value, offset: int) -> tuple[int, int]:
        """Which input a value lies in (-1: our own memory), and how many bytes from its start."""
        place = offset * value.dtype.itemsize
        if isinstance(value, Input):
            return value.index, place
        if value in self.schedule.direct:
            return self.schedule.direct[value], place
        return -1, self.offsets[value] + place

    def _table(self, pieces: Sequence[tuple[Value, int]]) -> str:
        """Where several pieces lie: which input (-1: our own memory), and how many bytes into it."""
        places = [self._where(value, offset) for value, offset in pieces]
        rows = [f"{{{index},{place}}}" for index, place in places]
        return f"static const struct {{ int32_t input, place; }} T[{len(rows)}] = {{{','.join(rows)}}};"

    def _pieces(self, count: int, kind: str, constant: str) -> list[str]:
        return [
            f"for (int64_t k = 0; k < {count}; k++) {{",
            f"{constant}{kind} *const s = ({constant}{kind} *)((T[k].input < 0 ? A : (char *)P[T[k].input]) + T[k].place);",
        ]

    def _collect(self, call: Call) -> list[str]:
        """Copy pieces from many places to one after another."""
        whole = call.outputs[0]
        dims, to = whole.dims[1:], whole.strides
        loops, names = _inner_loops(dims)
        source = address(0, call.inputs[0].strides, names)
        target = address(0, to, ["k", *names])
        return [
            "{",
            self._table([(access.value, access.offset) for access in call.inputs]),
            *self._pieces(whole.dims[0], C_TYPES[whole.dtype], "const "),
            f"{loops} {self.location(whole)}[{target}] = s[{source}];",
            "}",
            "}",
        ]

    def _spread(self, call: Call) -> list[str]:
        """Copy pieces of one value to many inputs."""
        old: Sequence[Input] = call.attributes
        source = call.inputs[0].value
        loops, names = _inner_loops(old[0].dims)
        offsets = ",".join(str(access.offset) for access in call.inputs)
        read = address(0, call.inputs[0].strides, names)
        target = address(0, old[0].strides, names)
        return [
            "{",
            self._table([(value, 0) for value in old]),
            f"static const int32_t O[{len(old)}] = {{{offsets}}};",
            *self._pieces(len(old), C_TYPES[source.dtype], ""),
            f"{loops} s[{target}] = {self.location(source)}[O[k] + {read}];",
            "}",
            "}",
        ]

    def _address(self, access: Access) -> str:
        return f"({self.location(access.value)} + {access.offset})"


def _inner_loops(dims: Dims) -> tuple[str, list[str]]:
    names = [f"i{d}" for d in range(len(dims))]
    loops = [f"for (int64_t {n} = 0; {n} < {size}; {n}++)" for n, size in zip(names, dims, strict=True)]
    return " ".join(loops), names


def _attribute(value: object) -> str:
    return repr(value) if not isinstance(value, float) else value.hex()
