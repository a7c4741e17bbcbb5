"""The loop over rows as C: what stands around a program of one row, or of a few side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ember.capture.native.c_writer.unit import KEEP, PUT_BACK, Inside
from ember.capture.native.values.dtypes import c_type

_MAIN = """\
#define EMBER_LANES @LANES@
#include "ember_each_row.h"

static int32_t ember_rows_block(const ember_rows_call *call, int32_t slot, int64_t row) {
    void *const *const P = call->P[slot];
    const int64_t there = call->last - row < EMBER_LANES ? call->last - row : EMBER_LANES;
    double now[1];
    ember_rng *const g = call->g;
    int32_t failed = 0;
@READ@
    @KEEP@
    step(call->A[slot], P, g, &failed, call->E, now, 0);
    for (int64_t l = 0; l < there; l++) call->bad[row + l] = failed != 0;
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
    ember_rows_call call = {tables, arenas, E, g, in, out, bad, first, last, first, {0}};
    if (in_order || threads < 2) {
        ember_rows_in_order(&call, in_order);
        return call.reached < last ? call.reached : last;
    }
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
    count: int
    """How many elements it has."""
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Of one row."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class RowsMain:
    """Writes the loop over rows.

    Args:
        inputs: what is read of each row, in the order of the pointers to it, from the first on.
        lanes: how many rows a run of the program takes, the last dim of what is exchanged counting them.
    """

    inputs: Sequence[Exchanged]
    lanes: int = 1

    def __call__(self, inside: Inside) -> str:
        shapes = inside.schedule.outputs[1:]
        first = len(inside.schedule.pointers) - len(shapes)
        outputs = [
            Exchanged(pointer, math.prod(shape) // self.lanes, dtype)
            for pointer, (shape, dtype) in enumerate(shapes, first)
        ]
        parts = {
            "@LANES@": str(self.lanes),
            "@READ@": "\n".join(line for k, one in enumerate(self.inputs) for line in self._read(k, one)),
            "@WRITTEN@": "\n".join(line for k, one in enumerate(outputs) for line in self._written(k, one)),
            "@KEEP@": KEEP if inside.keeps_state else "",
            "@PUT_BACK@": PUT_BACK if inside.keeps_state else "",
            "@PREPARE@": inside.prepare,
        }
        main = _PREPARED + _MAIN
        for place, text in parts.items():
            main = main.replace(place, text)
        return main

    def _read(self, k: int, one: Exchanged) -> list[str]:
        if self.lanes == 1:
            return [f"    memcpy(P[{one.pointer}], call->in[{k}] + row * {one.bytes}, {one.bytes});"]
        kind = c_type(one.dtype)
        return [
            f"    for (int64_t l = 0; l < {self.lanes}; l++) {{",
            "        /* Beyond the last row, the last one once more. */",
            "        const int64_t from_row = row + (l < there ? l : there - 1);",
            f"        const {kind} *const from = (const {kind} *)call->in[{k}] + from_row * {one.count};",
            f"        {kind} *const to = ({kind} *)P[{one.pointer}] + l;",
            f"        for (int64_t i = 0; i < {one.count}; i++) to[i * {self.lanes}] = from[i];",
            "    }",
        ]

    def _written(self, k: int, one: Exchanged) -> list[str]:
        if self.lanes == 1:
            return [f"    memcpy(call->out[{k}] + row * {one.bytes}, P[{one.pointer}], {one.bytes});"]
        kind = c_type(one.dtype)
        return [
            "    for (int64_t l = 0; l < there; l++) {",
            f"        const {kind} *const from = (const {kind} *)P[{one.pointer}] + l;",
            f"        {kind} *const to = ({kind} *)call->out[{k}] + (row + l) * {one.count};",
            f"        for (int64_t i = 0; i < {one.count}; i++) to[i] = from[i * {self.lanes}];",
            "    }",
        ]
