"""Loops that are the same but for the memory they work on become one C function.

A model that goes through two hundred steps of a time series has each of its loops two hundred times. A compiler that sees
each of them takes two hundred times as long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FEWEST_TIMES = 3
# A pointer, and how far from it an access begins.
_POINTER = re.compile(
    r"(?:\(\((?P<kind>\w+) \*\)\(A \+ \d+\)\)|\bx(?P<input>\d+)\b)(?:\[(?P<offset>\d+)(?P<end> \+ |\]))?"
)


@dataclass(frozen=True)
class _Canonical:
    """The text of a loop with ``p0``, ``p1`` ... for its pointers, and their types."""

    text: str
    types: tuple[str, ...]


def outlined(
    blocks: Sequence[list[str]], pointer_type: Callable[[int], str]
) -> tuple[list[str], list[list[str]]]:
    """Functions for the loops that occur again and again, and the blocks with calls in their place.

    Args:
        blocks: lines of each loop; those that are comments do not count.
        pointer_type: the C type behind the pointer ``x<number>``.
    """
    forms = [_canonical(lines, pointer_type) for lines in blocks]
    times = Counter(form for form, _ in forms)
    names: dict[_Canonical, str] = {}
    functions: list[str] = []
    result: list[list[str]] = []
    for lines, (form, pointers) in zip(blocks, forms, strict=True):
        if times[form] < FEWEST_TIMES or not pointers:
            result.append(lines)
            continue
        if form not in names:
            names[form] = f"loop_{len(names)}"
            functions.append(_function(names[form], form))
        comments = dict.fromkeys(line for line in lines if _is_comment(line))
        result.append([*comments, f"{names[form]}({', '.join([*pointers, 'failed'])});"])
    return functions, result


def _canonical(lines: list[str], pointer_type: Callable[[int], str]) -> tuple[_Canonical, list[str]]:
    pointers: dict[str, tuple[int, str]] = {}

    def parameter(match: re.Match[str]) -> str:
        kind = match["kind"] or pointer_type(int(match["input"]))
        base = match[0].partition("[")[0]
        place = base if match["offset"] in (None, "0") else f"{base} + {match['offset']}"
        position = pointers.setdefault(place, (len(pointers), kind))[0]
        if match["offset"] is None:
            return f"p{position}_"
        return f"p{position}_[0]" if match["end"] == "]" else f"p{position}_["

    text = _POINTER.sub(parameter, "\n".join(line for line in lines if not _is_comment(line)))
    return _Canonical(text, tuple(kind for _, kind in pointers.values())), list(pointers)


def _function(name: str, form: _Canonical) -> str:
    parameters = [f"{kind} *restrict const p{k}_" for k, kind in enumerate(form.types)]
    head = (
        f"static __attribute__((noinline)) void {name}({', '.join([*parameters, 'int32_t *const failed'])})"
    )
    return f"{head} {{\n{form.text}\n}}\n"


def _is_comment(line: str) -> bool:
    return line.startswith("/*")
