"""The whole program as one C translation unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ember.capture.native.c_writer import torch_calls
from ember.capture.native.c_writer.c_text import comment, literal
from ember.capture.native.c_writer.calls import CallWriter
from ember.capture.native.c_writer.chunks import CHUNKS, chunked
from ember.capture.native.c_writer.clock import Clock, TimedPart, estimates, origins_of, timed_part
from ember.capture.native.c_writer.nest import origins, written_nest, written_sweep
from ember.capture.native.c_writer.outline import Outlined, outlined
from ember.capture.native.c_writer.places import Block, Places, Pointers
from ember.capture.native.c_writer.repeats import Repeat, repeats
from ember.capture.native.c_writer.watch import Watch
from ember.capture.native.loops.structure import Nest, Placed, Schedule, Step, Sweep, step_can_fail
from ember.capture.native.torch_side.externs import Externs
from ember.capture.native.values.arrays import Access
from ember.capture.native.values.calls import (
    Call,
    Collect,
    HeaderCall,
    LibraryCall,
    SamplerCall,
    Spread,
    TorchCall,
)
from ember.capture.native.values.checks import draws
from ember.capture.native.values.layout import Dims

# Compilers take more than linear time for very long functions.
MOST_LINES = 400
_HEADER = """\
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "ember_linalg.h"
#include "ember_lock.h"
#include "ember_random.h"
#include "ember_rejection.h"
#include "ember_rows.h"
#include "ember_scans.h"
#include "ember_special.h"
#include "ember_team.h"
"""
_RESTRICTED = "char *restrict const A, void *const *const P, ember_rng *const g, int32_t *const failed"
_SHARED = _RESTRICTED.replace("restrict ", "")
_MAIN = """\
/* Takes steps until the count is reached, a loss is not finite (if asked to stop there), or interrupted() or *stopped, which it
 * may set, says so; *taken is how many. What is returned is 0, or what a failed call returned. */
int32_t ember_steps(void *const *P, char *A, ember_rng *g, void *mutex, void *const *E, int64_t count, double *losses,
                    int64_t *taken, int (*interrupted)(void), const volatile int32_t *stopped, int32_t until_bad,
                    int32_t threads) {
    ember_mutex = mutex;
    int32_t failed = 0;
    int64_t done = 0;
    ember_team *team = 0;
    PREPARE
    BEGIN
    while (done < count) {
        double *const now = losses + WIDTH * done;
        KEEP
        step(A, P, g, &failed, E, now, team);
        if (failed) {
            PUT_BACK
            break;
        }
        *taken = ++done;
        int bad = 0;
        for (int i = 0; i < WIDTH; i++) bad |= until_bad && !(now[i] - now[i] == 0);
        if (bad || (interrupted && done % 16 == 0 && (interrupted() || *stopped))) break;
    }
    if (team) ember_team_end(team);
    return failed;
}
"""

_BEGIN = """\
ember_team members;
    if (threads > 1) ember_team_begin(team = &members, threads);"""
KEEP = "ember_rng before; ember_lock(); ember_keep(&before, g); ember_unlock();"
PUT_BACK = "ember_lock(); *g = before; ember_unlock();"


@dataclass(frozen=True)
class Source:
    """A program in C, how much memory it works in, and its calls of torch."""

    text: str
    arena_bytes: int
    externs: Externs
    outputs: tuple[tuple[Dims, torch.dtype], ...]
    """Shapes and dtypes of all outputs."""
    kept: tuple[int, ...] = ()
    """Bytes of what is computed once, from data; pointers to them come after those of the inputs."""
    in_chunks: bool = False
    """Whether threads can share some of the work."""
    parts: tuple[TimedPart, ...] = ()
    """What is measured, in a program that measures."""
    estimates: Mapping[str, float] = field(default_factory=dict)
    """About how long the parts of a step take, in nanoseconds by kind."""
    watched_bytes: int = 0
    """Of the copies of these data; a pointer to them comes last. 0 where nothing is computed once."""


@dataclass(frozen=True)
class Inside:
    """What the loop around a program has to know of it."""

    schedule: Schedule
    prepare: str
    """Statements that come before the loop."""
    keeps_state: bool
    """Whether a run that fails has drawn random numbers, which must be put back."""
    shares_work: bool
    """Whether there is work in it for a team of threads."""


Main = Callable[[Inside], str]
"""Writes the loop around a program, and the function that it is entered by."""


def steps_main(inside: Inside) -> str:
    """The loop over steps. One that fails leaves the random state as it was."""
    keep, put_back = (KEEP, PUT_BACK) if inside.keeps_state else ("", "")
    main = _MAIN.replace("PREPARE", inside.prepare).replace("WIDTH", str(len(inside.schedule.losses)))
    main = main.replace("BEGIN", _BEGIN if inside.shares_work else "")
    return main.replace("KEEP", keep).replace("PUT_BACK", put_back)


def written_unit(placed: Placed, timed: bool = False, main: Main = steps_main) -> Source:
    """A schedule as a translation unit.

    Args:
        placed: the schedule.
        timed: whether it is to add up the time of each of its parts.
        main: writes the loop around it.
    """
    return _UnitWriter(placed, timed, main).source()


class _UnitWriter:
    def __init__(self, placed: Placed, timed: bool, main: Main) -> None:
        self.placed = placed
        self._main = main
        self.clock = Clock() if timed else None
        self.externs = Externs()
        self.places: Places
        self.calls: CallWriter
        self.functions: list[str]
        self.steps: list[str]
        """Statements of the function that is being written."""
        self._open: list[Block]
        """What goes to the next part of it."""
        self._name: str
        self._placed: Placed
        self._schedule: Schedule
        self._size = -(-placed.size // 64) * 64
        self._chunk_bytes = 0
        """Of memory for chunks of a pass over rows, behind all other."""

    def source(self) -> Source:
        placed, schedule = self.placed, self.placed.schedule
        parts: list[str] = []
        if placed.before is not None:
            parts += self._program("prepare", placed.before)
        parts += self._program("step", placed)
        watch = Watch(placed)
        main = self._main(self._inside(watch))
        declared = torch_calls.declarations(self.externs)
        clock = [] if self.clock is None else self.clock.declarations()
        text = "\n".join([_HEADER, *clock, declared, *parts, *watch.functions(), main])
        return Source(
            text,
            arena_bytes=self._size + self._chunk_bytes,
            externs=self.externs,
            outputs=schedule.outputs,
            kept=watch.kept,
            in_chunks=self._chunk_bytes > 0,
            parts=() if self.clock is None else tuple(self.clock.parts),
            estimates=estimates(schedule.steps),
            watched_bytes=watch.bytes,
        )

    def _program(self, name: str, placed: Placed) -> list[str]:
        """The function of this name, which does all that a schedule says, after those that it is made of."""
        self._placed = placed
        self.places = Places(placed)
        self.calls = CallWriter(self.places, self.externs)
        self.functions, self.steps, self._open, self._name = [], [], [], name
        self._schedule = schedule = placed.schedule
        loops = [step for step in schedule.steps if isinstance(step, Nest) and step.dims]
        repeated, calls = outlined(loops, self.places, name)
        again = repeats([calls.get(step) if isinstance(step, Nest) else None for step in schedule.steps])
        number = 0
        while number < len(schedule.steps):
            length = again[number].length if number in again else 1
            self._start_clock()
            if number in again:
                self._repeat(number, again[number])
            else:
                self._step(number, schedule.steps[number], calls)
            self._stop_clock(number, schedule.steps[number : number + length])
            number += length
        self._close(_RESTRICTED)
        memory = Pointers()
        losses = [f"losses[{k}] = (double)({self._loss(a, memory)});" for k, a in enumerate(schedule.losses)]
        head = f"static void {name}({_SHARED}, void *const *const E, double *losses, ember_team *const team)"
        began = ["int64_t began;"] if self._is_measured else []
        block = Block([*began, *self.steps, *losses], frozenset(memory.used))
        return [*repeated, *self.functions, self._function(head, [block], "")]

    @property
    def _is_measured(self) -> bool:
        """Whether what is being written is measured: what is done once belongs to no step."""
        return self.clock is not None and self._placed is self.placed

    def _start_clock(self) -> None:
        """Begin to measure a part of the program, in the function that calls the parts."""
        if self._is_measured:
            self._close(_RESTRICTED)
            self.steps.append("began = ember_now();")

    def _stop_clock(self, number: int, steps: Sequence[Step]) -> None:
        """Add up what a part has taken."""
        if self.clock is not None and self._is_measured:
            self._close(_RESTRICTED)
            self.steps.append(self.clock.added(timed_part(number, steps)))

    def _inside(self, watch: Watch) -> Inside:
        steps = self.placed.schedule.steps
        fails = any(map(step_can_fail, steps))
        drawing = any(isinstance(step, Call) and draws(step) for step in steps)
        return Inside(
            self.placed.schedule, watch.statements(), fails and drawing, shares_work=self._chunk_bytes > 0
        )

    def _step(self, number: int, step: Step, calls: dict[Nest, Outlined]) -> None:
        memory = Pointers()
        if isinstance(step, Sweep) and step.in_chunks:
            self._in_chunks(number, step)
            return
        if isinstance(step, Nest | Sweep):
            lines = (
                self._sweep(number, step, memory)
                if isinstance(step, Sweep)
                else self._nest(number, step, calls.get(step), memory)
            )
            self._add(Block(lines, frozenset(memory.used)))
            return
        head = _title(number, step)
        if isinstance(step, HeaderCall) and step.fallback is None:
            self._add(Block([head, *self._header_call(step, memory)], frozenset(memory.used)))
            return
        # What reaches memory by another way than the pointers of a function must not stand in it: they are `restrict`.
        self._close(_RESTRICTED)
        if isinstance(step, Collect | Spread):
            copied = (
                self.calls.collect(step, memory)
                if isinstance(step, Collect)
                else self.calls.spread(step, memory)
            )
            self._add(Block([head, *copied], frozenset(memory.used)))
            self._close(_SHARED)
        elif isinstance(step, HeaderCall):
            self._in_step(Block([head, *self._header_call(step, memory)], frozenset(memory.used)))
        elif isinstance(step, TorchCall):
            self._in_step(Block([head, *self.calls.torch(step)], frozenset()))

    def _header_call(self, call: HeaderCall, memory: Pointers) -> list[str]:
        if isinstance(call, LibraryCall):
            return self.calls.library(call, memory)
        assert isinstance(call, SamplerCall)
        return self.calls.sampler(call, memory)

    def _nest(self, number: int, nest: Nest, shared: Outlined | None, memory: Pointers) -> list[str]:
        dims = " x ".join(map(str, nest.dims))
        head = comment(f"{number}: a loop over {dims}" if dims else f"{number}: single numbers")
        if shared is not None:
            stops = ["if (*failed) return;"] if nest.can_fail else []
            return [head, *origins(nest), shared.call(memory), *stops]
        return [head, "{", *written_nest(nest, self.places, memory), "}"]

    def _repeat(self, number: int, repeat: Repeat) -> None:
        """Calls that come again and again, as a loop over a table."""
        self._close(_RESTRICTED)
        steps = self._schedule.steps[number : number + len(repeat.calls)]
        fails = any(step.can_fail for step in steps if isinstance(step, Nest))
        head = f"{number}: {len(repeat.calls)} loops, {len(repeat.rows)} times"
        places = (line for step in steps if isinstance(step, Nest) for line in origins(step))
        self._add(Block([comment(head), *dict.fromkeys(places), *repeat.lines(fails)], frozenset()))
        self._close(_SHARED)

    def _sweep(self, number: int, sweep: Sweep, memory: Pointers) -> list[str]:
        return [_title_of_sweep(number, sweep), "{", *written_sweep(sweep, self.places, memory), "}"]

    def _in_chunks(self, number: int, sweep: Sweep) -> None:
        """A pass over rows that threads share."""
        self._close(_RESTRICTED)
        parts = chunked(sweep, self._placed)
        name = f"{self._name}_chunk_{number}"
        head = f"static void {name}(int64_t chunk, char *A, void *const *P, char *Q, int32_t *failed)"
        title = _title_of_sweep(number, sweep)
        self.functions.append(self._function(head, [Block([title, *parts.lines], parts.pointers)]))
        self._chunk_bytes = max(self._chunk_bytes, CHUNKS * parts.bytes)
        self._in_step(
            Block(
                [
                    f"char *const Q = A + {self._size};",
                    f"ember_team_run(team, {name}, A, P, Q, failed);",
                    "if (*failed) return;",
                    *parts.combined,
                ],
                parts.combined_pointers,
            )
        )

    def _add(self, block: Block) -> None:
        """Put lines into the function that is being filled."""
        if sum(len(part.lines) for part in self._open) + len(block.lines) > MOST_LINES:
            self._close(_RESTRICTED)
        self._open.append(block)

    def _close(self, parameters: str) -> None:
        """Make a function of the lines so far, and call it in the step."""
        if not self._open:
            return
        name = f"{self._name}_{len(self.functions)}"
        head = f"EMBER_PIECE void {name}({parameters})"
        self.functions.append(self._function(head, self._open))
        self.steps += [f"{name}(A, P, g, failed);", "if (*failed) return;"]
        self._open = []

    def _in_step(self, block: Block) -> None:
        """Put lines that need the table of torch's calls into the step itself."""
        declared = [self._declared(pointer) for pointer in sorted(block.pointers)]
        self.steps += ["{", *declared, *block.lines, "}"]

    def _function(self, head: str, blocks: Sequence[Block], restrict: str = "restrict ") -> str:
        pointers = sorted(frozenset[int]().union(*(block.pointers for block in blocks)))
        lines = [line for block in blocks for line in block.lines]
        declared = [self._declared(pointer, restrict) for pointer in pointers]
        return "\n".join([f"{head} {{", *declared, *lines, "}", ""])

    def _declared(self, pointer: int, restrict: str = "") -> str:
        return f"{self.places.pointer(pointer).kind} *{restrict}const x{pointer} = P[{pointer}];"

    def _loss(self, access: Access, memory: Pointers) -> str:
        if access.number is not None:
            return literal(access.number, access.value.dtype)
        return memory.element(self.places.base(access.value), access.offset, [])


def _title_of_sweep(number: int, sweep: Sweep) -> str:
    dims = ", ".join(" x ".join(map(str, nest.dims)) for nest in sweep.nests)
    return comment(f"{number}: one pass over {sweep.rows} rows: loops over {dims}")


def _title(number: int, call: Call) -> str:
    """A call for the reader, and where in the user's program it comes from."""
    return comment("; ".join([f"{number}: {call.title}", *origins_of(call)]))
