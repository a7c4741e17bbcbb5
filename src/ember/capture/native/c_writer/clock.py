"""Time, measured inside a program: each of its loops and calls adds up its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ember.capture.native.loops.estimate import nanoseconds
from ember.capture.native.loops.structure import Step, Sweep, items_of
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.calls import Call, SamplerCall, TorchCall
from ember.capture.native.values.checks import draws

_DECLARED = """\
#include <time.h>
static int64_t ember_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
static int64_t ember_spent[COUNT];
int64_t *ember_times(void) { return ember_spent; }
"""


# What optimizers are called in a recording: "Adam: loc".
_IS_UPDATE = re.compile(r"[A-Z]\w*: ")
_SOME = 0.2


@dataclass(frozen=True)
class TimedPart:
    """A loop, loops that go together, or a call."""

    title: str
    origins: tuple[str, ...]
    """Where in the user's program it comes from."""
    kind: str
    """``draws``, ``torch``, ``forward``, ``backward``, ``both`` of these in one loop, or ``update``."""
    estimate: float
    """In nanoseconds, without running anything."""


class Clock:
    """The parts that are measured, by the numbers that they have in C."""

    def __init__(self) -> None:
        self.parts: list[TimedPart] = []

    def added(self, part: TimedPart) -> str:
        """The statement that ends the measurement of one more part."""
        self.parts.append(part)
        return f"ember_spent[{len(self.parts) - 1}] += ember_now() - began;"

    def declarations(self) -> list[str]:
        """What comes before all functions."""
        return [_DECLARED.replace("COUNT", str(max(len(self.parts), 1)))]


def timed_part(number: int, steps: Sequence[Step]) -> TimedPart:
    """What steps of a program, taken together, are."""
    found = tuple(origin for step in steps for origin in origins_of(step))
    title = _title(steps[0]) if len(steps) == 1 else f"{len(steps)} loops in a loop"
    return TimedPart(
        f"{number}: {title}", tuple(dict.fromkeys(found)), _kind(steps), sum(map(nanoseconds, steps))
    )


def estimates(steps: Sequence[Step]) -> dict[str, float]:
    """Nanoseconds by kind of step."""
    found: dict[str, float] = {}
    for step in steps:
        kind = _kind([step])
        found[kind] = found.get(kind, 0.0) + nanoseconds(step)
    return found


def origins_of(step: Step) -> Iterable[str]:
    """Where in the user's program a step comes from."""
    return dict.fromkeys(value.origin for value in _values(step) if value.origin)


def _values(step: Step) -> list[Value]:
    if isinstance(step, Call):
        return list(step.outputs)
    return [item for item in items_of(step) if isinstance(item, Value)]


def _title(step: Step) -> str:
    if isinstance(step, Call):
        return step.title
    if isinstance(step, Sweep):
        return f"one pass over {step.rows} rows"
    return f"a loop over {' x '.join(map(str, step.dims))}" if step.dims else "single numbers"


def _kind(steps: Sequence[Step]) -> str:
    if any(isinstance(step, SamplerCall) or (isinstance(step, Call) and draws(step)) for step in steps):
        return "draws"
    if any(isinstance(step, TorchCall) for step in steps):
        return "torch"
    origins = [value.origin for step in steps for value in _values(step) if value.origin]
    updates = sum(_IS_UPDATE.match(origin) is not None for origin in origins)
    backward = sum(origin.startswith("backward") for origin in origins)
    if 2 * updates > len(origins):
        return "update"
    share = backward / max(len(origins), 1)
    return "forward" if share < _SOME else "both" if share < 1 - _SOME else "backward"
