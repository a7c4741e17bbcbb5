"""Calls of torch as C: each a function that is 0, or else a Python exception is set. ``E`` is the table of a binding."""

from __future__ import annotations

from ember.capture.native.torch_side.externs import Entry, Externs, Way


def declarations(externs: Externs) -> str:
    """C to stand before the functions with the calls."""
    if not externs.entries:
        return ""
    functions = [
        f"static int {name(number)}(void *const *E) {{ return {_body(entry)}; }}"
        for number, entry in enumerate(externs.entries)
    ]
    return "\n".join(['#include "torch_call.h"', *functions, ""])


def name(number: int) -> str:
    """Of the function that makes a call."""
    return f"extern_{number}"


def _body(entry: Entry) -> str:
    if entry.way is Way.PYTHON:
        return f"ember_call_python(E, {entry.first})"
    if entry.routine is not None:
        return f"{entry.routine.caller}(E, {entry.first}, {entry.routine.arguments})"
    if entry.way is Way.PRODUCT:
        return f"ember_call_product(E, {entry.first})"
    beta, alpha = (factor.hex() for factor in entry.call.factors)
    return f"ember_call_sum_and_product(E, {entry.first}, {beta}, {alpha})"
