"""What does not change is computed once: values that depend on data alone move out of the loop over steps.

Data are the inputs that no step writes to, and that no loop over rows exchanges. Values of data that cost more to compute than
to read again get memory of their own, which a plan that runs before the first step fills. It runs again when the data are others:
the program keeps a copy of them and compares byte by byte, once a call, so that a change is seen however it was made. What is
required of data is looked at there, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ember.capture.native.values.arrays import Access, Constant, Input, Value, moved_to
from ember.capture.native.values.calls import Call, Result
from ember.capture.native.values.checks import draws
from ember.capture.native.values.costs import READ, cost
from ember.capture.native.values.order import reachable
from ember.capture.native.values.plan import Plan

MOST_BYTES = 2**26
"""Of memory for all values of data."""
TIMES_DEARER = 4
"""How much dearer than reading it again a value must be."""
LEAST_NS = 20.0


def hoisted(plan: Plan) -> Plan:
    """The same program with what does not change in a plan before it."""
    chooser = _Chooser(plan)
    kept = chooser.kept()
    checked = [value for value in plan.required if value in chooser.fixed]
    if not kept and not checked:
        return plan
    inputs = list(plan.inputs)
    places: dict[Value, Input] = {}
    for value in kept:
        places[value] = Input(value.dtype, value.dims, value.strides, index=len(inputs), origin=value.origin)
        inputs.append(places[value])
    copies = _copied(reachable([*kept, *checked]))
    before = Plan(
        tuple(inputs),
        tuple((place, Access(copies[value], 0, value.strides)) for value, place in places.items()),
        (),
        (),
        required=tuple(copies[value] for value in checked),
    )
    moved = moved_to(places)
    rest = replace(
        plan.reading(moved),
        inputs=tuple(inputs),
        required=tuple(value for value in plan.required if value not in chooser.fixed),
        before=before,
    )
    for value in chooser.order:
        if value not in places:
            value.rewire(moved)
    return rest


@dataclass(frozen=True)
class _Worth:
    """A value of data that is read in each step."""

    value: Value
    saved: float
    """Nanoseconds in a step."""

    @property
    def bytes(self) -> int:
        return self.value.extent * self.value.dtype.itemsize


class _Chooser:
    """Finds the values that are worth keeping."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.order = reachable(plan.roots(), plan.draws)
        self.fixed = self._of_data()
        """All values that depend on nothing that a step changes or draws."""

    def kept(self) -> list[Value]:
        """In the order in which they are computed."""
        worth = self._worth()
        room, chosen = MOST_BYTES, set()
        for one in sorted(worth, key=lambda w: -w.saved / max(w.bytes, 1)):
            if one.bytes <= room:
                room -= one.bytes
                chosen.add(one.value)
        return [value for value in self.order if value in chosen]

    def _of_data(self) -> set[Value]:
        changed: set[Value] = {*self._plan.varying, *(old for old, _ in self._plan.finals)}
        drawn = set(self._plan.draws)
        fixed: set[Value] = set()
        for value in self.order:
            if isinstance(value, Input):
                holds = value not in changed
            elif isinstance(value, Result) and (value.call in drawn or draws(value.call)):
                holds = False
            else:
                holds = all(access.value in fixed for access in value.operands())
            if holds:
                fixed.add(value)
        return fixed

    def _worth(self) -> list[_Worth]:
        """Values of data that steps read, where computing them costs much more than reading them."""
        needed = {root for root in self._plan.roots() if root in self.fixed}.difference(self._plan.required)
        found: list[_Worth] = []
        for value in reversed(self.order):
            if value not in self.fixed:
                needed.update(access.value for access in value.operands())
                continue
            if value not in needed or isinstance(value, Input | Constant):
                continue
            saved = sum(map(cost, self._made_of(value)))
            if saved >= LEAST_NS and saved >= TIMES_DEARER * READ * value.extent:
                found.append(_Worth(value, saved))
            else:
                needed.update(access.value for access in value.operands())
        return found

    def _made_of(self, value: Value) -> Iterable[Value]:
        seen = {value}
        waiting = [value]
        while waiting:
            for access in waiting.pop().operands():
                if access.value not in seen:
                    seen.add(access.value)
                    waiting.append(access.value)
        return seen


def _copied(values: Sequence[Value]) -> dict[Value, Value]:
    """Copies of values, and of all that they are made of but data; the step may need some of them itself."""
    copies: dict[Value, Value] = {}
    calls: dict[Call, Call] = {}
    moved = moved_to(copies)
    for value in values:
        if isinstance(value, Input | Constant):
            copies[value] = value
        elif isinstance(value, Result):
            if value.call not in calls:
                calls[value.call] = made = copy.copy(value.call)
                made.outputs = [copy.copy(output) for output in value.call.outputs]
                for output in made.outputs:
                    output.call = made
                made.rewire(moved)
            copies[value] = calls[value.call].outputs[value.call.outputs.index(value)]
        else:
            copies[value] = copy.copy(value)
            copies[value].rewire(moved)
    return copies
