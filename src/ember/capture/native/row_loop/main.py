"""The loop over rows as C: what stands around a program of one row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ember.capture.native.c_writer.unit import KEEP, PUT_BACK, Inside

_MAIN = """\
#include "ember_each_row.h"

static int32_t ember_row(const ember_rows_call *call, int32_t slot, int64_t row) {
    void *const *const P = call->P[slot];
    double now[1];
    ember_rng *const g = call->g;
    int32_t failed = 0;
@READ@
    @KEEP@
    step(call->A[slot], P, g, &failed, call->E, now, 0);
    call->bad[row] = failed != 0;
    if (failed) {
        @PUT_BACK@
        return 1;
    }
@WRITTEN@
    return 0;
}

/* Runs the rows from `first` up to `last`; returns the row that it has come to, or -1 if what is done once has failed. With
 * `in_order`, it ends after a row that fails. */
int64_t ember_rows(void *const *const *tables, char *const *arenas, ember_rng *g, void *mutex, void *const *E, int64_t first,
                   int64_t last, char *const *in, char *const *out, uint8_t *bad, int32_t in_order, int32_t threads) {
    ember_mutex = mutex;
    void *const *const P = tables[0];
    char *const A = arenas[0];
    int32_t failed = 0;
    if (prepared(A, P, g, E)) return -1;
    ember_rows_call call = {tables, arenas, E, g, in, out, bad, first, last, {0}};
    if (in_order || threads < 2) return ember_rows_in_order(&call, in_order);
    ember_team team;
    ember_team_begin(&team, threads);
    ember_team_run(&team, ember_rows_chunk, A, P, (char *)&call, &failed);
    ember_team_end(&team);
    return last;
}
"""
_PREPARED = """\
static int32_t prepared(char *A, void *const *P, ember_rng *g, void *const *E) {
    int32_t failed = 0;
    @PREPARE@
    return failed;
}
"""


@dataclass(frozen=True)
class Exchanged:
    """An input that is another one for each row, or an output."""

    pointer: int
    """The number of the pointer by which the program knows it."""
    bytes: int
    """Of one row."""


@dataclass(frozen=True)
class RowsMain:
    """Writes the loop over rows.

    Args:
        inputs: what is read of each row, in the order of the pointers to it, from the first on.
    """

    inputs: Sequence[Exchanged]

    def __call__(self, inside: Inside) -> str:
        shapes = inside.schedule.outputs[1:]
        first = len(inside.schedule.pointers) - len(shapes)
        outputs = [
            Exchanged(pointer, math.prod(shape) * dtype.itemsize)
            for pointer, (shape, dtype) in enumerate(shapes, first)
        ]
        parts = {
            "@READ@": "\n".join(map(_read, range(len(self.inputs)), self.inputs)),
            "@WRITTEN@": "\n".join(map(_written, range(len(outputs)), outputs)),
            "@KEEP@": KEEP if inside.keeps_state else "",
            "@PUT_BACK@": PUT_BACK if inside.keeps_state else "",
            "@PREPARE@": inside.prepare,
        }
        main = _PREPARED + _MAIN
        for place, text in parts.items():
            main = main.replace(place, text)
        return main


def _read(k: int, one: Exchanged) -> str:
    return f"    memcpy(P[{one.pointer}], call->in[{k}] + row * {one.bytes}, {one.bytes});"


def _written(k: int, one: Exchanged) -> str:
    return f"    memcpy(call->out[{k}] + row * {one.bytes}, P[{one.pointer}], {one.bytes});"
