"""The same calls again and again, one time step after another, become a loop over a table of their pointers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ember.capture.native.c_writer.outline import Outlined
from ember.capture.native.c_writer.places import OWN

FEWEST_TIMES = 6
LONGEST_PERIOD = 64


@dataclass(frozen=True)
class Repeat:
    """Calls that come so many times one after another."""

    calls: list[Outlined]
    """Of the first time."""
    rows: list[list[tuple[int, int]]]
    """For each time, where the pointers of all calls begin: behind which of the program's, and how many bytes on."""

    @property
    def length(self) -> int:
        """How many calls that is."""
        return len(self.calls) * len(self.rows)

    def lines(self, fails: bool) -> list[str]:
        """The loop."""
        width = len(self.rows[0])
        table = ",".join(f"{{{pointer},{place}}}" for row in self.rows for pointer, place in row)
        lines = [
            "{",
            f"static const struct {{ int32_t input; int64_t place; }} T[{width * len(self.rows)}] = {{{table}}};",
            f"for (int64_t k = 0; k < {len(self.rows)}; k++) {{",
            f"char *at[{width}];",
            f"for (int j = 0; j < {width}; j++) at[j] = (T[{width} * k + j].input == {OWN} ? A "
            f": (char *)P[T[{width} * k + j].input]) + T[{width} * k + j].place;",
        ]
        first = 0
        for call in self.calls:
            kinds = [base.kind for base, _ in call.pointers]
            arguments = [f"({kind} *)at[{first + j}]" for j, kind in enumerate(kinds)]
            lines.append(f"{call.name}({', '.join([*arguments, 'failed'])});")
            first += len(kinds)
        return [*lines, *(["if (*failed) return;"] if fails else []), "}", "}"]


def repeats(calls: Sequence[Outlined | None]) -> dict[int, Repeat]:
    """The repeats among the steps of a program, by their first step. None stands for a step that is no such call."""
    names = [None if call is None else call.name for call in calls]
    found: dict[int, Repeat] = {}
    at = 0
    while at < len(names):
        period, times = _best(names, at)
        if times < FEWEST_TIMES:
            at += 1
            continue
        rows = []
        for k in range(times):
            own = [call for call in calls[at + k * period : at + (k + 1) * period] if call is not None]
            rows.append([place for call in own for place in call.row()])
        first = [call for call in calls[at : at + period] if call is not None]
        found[at] = Repeat(first, rows)
        at += period * times
    return found


def _best(names: Sequence[str | None], at: int) -> tuple[int, int]:
    """The period and the number of times that cover most from here on; of equals the shortest period."""
    best = (1, 0)
    if names[at] is None:
        return best
    for period in range(1, LONGEST_PERIOD + 1):
        end = at + period
        if end > len(names) or names[end - 1] is None:
            break
        while end < len(names) and names[end] is not None and names[end] == names[end - period]:
            end += 1
        times = (end - at) // period
        if times >= FEWEST_TIMES and period * times > best[0] * best[1]:
            best = (period, times)
    return best
