"""An order in which values can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from ember.capture.native.values.arrays import Value
from ember.capture.native.values.calls import Call


def reachable(roots: Iterable[Value], draws: Sequence[Call] = ()) -> list[Value]:
    """All values that these need, operands first, in the order in which they came into being as far as that allows. Results of
    ``draws`` stand in the order of the calls."""
    needs: dict[Value, list[Value]] = {}
    stack = list(roots)
    after = {result: earlier.outputs[0] for earlier, later in pairwise(draws) for result in later.outputs}
    while stack:
        value = stack.pop()
        if value not in needs:
            needs[value] = list({access.value: None for access in value.operands()})
            if value in after:
                needs[value].append(after[value])
            stack += needs[value]
    # The order of their numbers will do, unless a pass has given an operand a later one. Values may share a number; where they
    # were found settles their order, the same in every process.
    order = sorted(needs, key=lambda value: value.serial)
    place = {value: at for at, value in enumerate(order)}
    if all(place[operand] < place[value] for value in order for operand in needs[value]):
        return order
    return _sorted(needs)


def _sorted(needs: dict[Value, list[Value]]) -> list[Value]:
    """Each after those that it needs, and of those that could come next the one with the lowest number."""
    users: dict[Value, list[Value]] = {value: [] for value in needs}
    missing = {value: len(set(operands)) for value, operands in needs.items()}
    for value, operands in needs.items():
        for operand in set(operands):
            users[operand].append(value)
    rank = {value: position for position, value in enumerate(needs)}
    ready = [(value.serial, rank[value], value) for value, count in missing.items() if not count]
    heapify(ready)
    order = []
    while ready:
        _, _, value = heappop(ready)
        order.append(value)
        for user in users[value]:
            missing[user] -= 1
            if not missing[user]:
                heappush(ready, (user.serial, rank[user], user))
    assert len(order) == len(needs)
    return order
