"""Functions of BLAS and LAPACK that torch itself calls, in the place of its operators: on the program's own memory, in its own
layout, without what an operator copies and allocates around them.

Torch's library exports them under their Fortran names, with 32-bit integers. Where it does not, and where there is no factor,
the operator is called after all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ember.capture.native.torch_side.extern_call import Buffer, ExternCall

aten = torch.ops.aten
_LETTERS = {torch.float32: ("s", "f32"), torch.float64: ("d", "f64")}
_LARGEST = 2**31 - 1
_OTHER = {"L": "U", "U": "L", "N": "T", "T": "N", "R": "L"}


@dataclass(frozen=True)
class Routine:
    """A function of BLAS or LAPACK, and how it is called."""

    function: str
    buffers: tuple[Buffer, ...]
    """Whose addresses it takes, in the order of the table."""
    caller: str
    """The function of the headers that calls it."""
    arguments: str
    """What that takes after the table and the place in it, as C."""


@dataclass(frozen=True)
class _Matrix:
    """A matrix in memory as BLAS sees it, column by column."""

    turned: bool
    """Whether it sees the transposed matrix: this one lies row by row."""
    apart: int
    """How far apart its columns lie, or its rows."""


def routine(call: ExternCall) -> Routine | None:
    """The function for a call; None where the operator is called."""
    write = _WRITERS.get(call.op)
    buffers = [*call.args, *call.outputs]
    if write is None or not all(isinstance(one, Buffer) for one in buffers):
        return None
    return write(call) if buffers[0].dtype in _LETTERS else None


def _solve(call: ExternCall) -> Routine | None:
    """``a x = b`` for a triangle ``a``; seen transposed, ``x' a' = b'``."""
    (a, b), (x,) = call.args, call.outputs
    assert x is not None
    by_columns, over = _seen(x), _seen(a)
    if by_columns is None or over is None or _dims(a) is None or _strides(b) is None or b.sizes != x.sizes:
        return None
    rows, columns = x.sizes[-2:]
    side = "L" if call.kwargs.get("left", True) else "R"
    uplo, trans = "U" if call.kwargs["upper"] else "L", "N"
    if over.turned:
        uplo, trans = _OTHER[uplo], "T"
    br, bc = b.strides[-2:]
    if by_columns.turned:
        side, trans = "R" if side == "L" else "L", _OTHER[trans]
        rows, columns, br, bc = columns, rows, bc, br
    unit = "U" if call.kwargs.get("unitriangular", False) else "N"
    letter, name = _LETTERS[a.dtype]
    letters = ", ".join(f"'{one}'" for one in (side, uplo, trans, unit))
    numbers = ", ".join(map(str, (rows, columns, over.apart, by_columns.apart, br, bc)))
    return Routine(f"{letter}trsm_", (a, b, x), f"ember_call_solve_{name}", f"{letters}, {numbers}")


def _factor(call: ExternCall) -> Routine | None:
    """The lower ``l`` with ``l l' = a``, or the upper one; only that half of ``a`` is read."""
    (a,), (x, info) = call.args, call.outputs
    assert x is not None and info is not None
    by_columns = _seen(x)
    if by_columns is None or _strides(a) is None or a.sizes != x.sizes:
        return None
    uplo = "U" if call.kwargs.get("upper", False) else "L"
    br, bc = a.strides[-2:]
    if by_columns.turned:
        uplo, br, bc = _OTHER[uplo], bc, br
    letter, name = _LETTERS[a.dtype]
    numbers = ", ".join(map(str, (x.sizes[-1], by_columns.apart, br, bc)))
    return Routine(f"{letter}potrf_", (a, x, info), f"ember_call_factor_{name}", f"'{uplo}', {numbers}")


def _dims(buffer: Buffer) -> tuple[int, int] | None:
    """Rows and columns of what is one matrix with more than one of each."""
    rows, columns = buffer.sizes[-2:] if len(buffer.sizes) >= 2 else (0, 0)
    one = set(buffer.sizes[:-2]) <= {1} and min(rows, columns) > 1
    return (rows, columns) if one and max(rows, columns, *buffer.strides) <= _LARGEST else None


def _strides(buffer: Buffer) -> tuple[int, int] | None:
    """Of what is one matrix without an element that stands in several places."""
    found = _dims(buffer)
    return None if found is None or 0 in buffer.strides[-2:] else (buffer.strides[-2], buffer.strides[-1])


def _seen(buffer: Buffer) -> _Matrix | None:
    """A matrix whose rows, or whose columns, lie one element after another."""
    found = _dims(buffer)
    if found is None:
        return None
    (rows, columns), (down, along) = found, buffer.strides[-2:]
    if down == 1 and along >= rows:
        return _Matrix(False, along)
    return _Matrix(True, down) if along == 1 and down >= columns else None


_WRITERS: dict[object, Callable[[ExternCall], Routine | None]] = {
    aten.linalg_cholesky_ex.default: _factor,
    aten.linalg_solve_triangular.default: _solve,
}
