"""Linear algebra, one row each: by C for small matrices, by torch for large ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from ember.capture.native.lowering.elementwise import copy
from ember.capture.native.lowering.library import FLOATS, library_call, matrices_over
from ember.capture.native.lowering.refs import Memory, Ref, transposed, turned
from ember.capture.native.lowering.rows.external import call_torch, operator
from ember.capture.native.lowering.workspace import Lower, OpCall, Outcome, Workspace
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.layout import contiguous

aten = torch.ops.aten

MOST_ROWS = 32
"""Of a matrix that C works on."""
MOST_ROWS_OF_ONE_COLUMN = 512
"""Of a triangular matrix, where one column is asked for."""


def _solve_triangular(low: Workspace, call: OpCall) -> Outcome:
    """``x`` with ``a x = b``; ``x a = b`` is ``a' x' = b'``."""
    a, b, x = call.ref("self"), call.ref("B"), call.meta
    to, upper = x.stride, call.flag("upper")
    batch = x.shape[:-2]
    a, b = matrices_over(a, batch), matrices_over(b, batch)
    if not call.flag("left"):
        a, b, to, upper = turned(a), turned(b), transposed(to), not upper
    rows, columns = b.shape[-2:]
    small = rows <= (MOST_ROWS if columns > 1 else MOST_ROWS_OF_ONE_COLUMN)
    if not (small and 0 not in x.shape and x.dtype in FLOATS):
        return _solve_by_torch(low, call)
    numbers = (rows, columns, int(upper), int(call.flag("unitriangular")))
    return library_call(
        low, call, "solve_triangular", inputs=[a, b], outputs=[(x, to)], numbers=numbers, batch=batch
    )[0]


def _solve_by_torch(low: Workspace, call: OpCall) -> Outcome:
    """What lies row by row is solved as its transposed, which lies column by column, as BLAS wants it: MKL takes up to twice as
    long for ``a x = b`` as for ``x a = b`` on some processors, and one of ``b`` and ``x`` is turned around either way."""
    op, b, x = aten.linalg_solve_triangular.default, call.ref("B"), call.meta
    if not call.flag("left") or b.strides[-1] != 1 or min(b.shape[-2:]) < 2:
        return call_torch(low, call, op)
    other = {"self": turned(call.ref("self")), "B": turned(b), "upper": not call.flag("upper"), "left": False}
    by_rows = contiguous(x.shape)
    meta = replace(x, shape=transposed(x.shape), stride=transposed(by_rows))
    made = call_torch(low, replace(call, arguments={**call.arguments, **other}, metas=meta), op)
    assert isinstance(made, Value)
    return copy(low, call, Ref(Memory(made), 0, x.shape, by_rows, x.dtype))


def _cholesky(low: Workspace, call: OpCall) -> Outcome:
    """The factor and ``info``, which torch fills where there is none: it raises the error, if it is one."""
    op, a = aten.linalg_cholesky_ex.default, call.ref("self")
    rows = a.shape[-1]
    outputs = [(meta, meta.stride) for meta in call.all_metas if meta is not None]
    if not (rows <= MOST_ROWS and a.numel and a.dtype in FLOATS and len(outputs) == 2):
        return call_torch(low, call, op)
    return library_call(
        low,
        call,
        "cholesky",
        inputs=[a],
        outputs=outputs,
        numbers=(rows, int(call.flag("upper"))),
        batch=a.shape[:-2],
        fallback=operator(call, op)[0],
    )


ROWS: dict[str, Lower] = {
    "linalg_cholesky_ex.default": _cholesky,
    "linalg_solve_triangular.default": _solve_triangular,
}
