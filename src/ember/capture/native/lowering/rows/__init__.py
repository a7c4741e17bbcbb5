"""The table of operators: how each is written in C."""

from __future__ import annotations

from ember.capture.native.lowering.decompose import Decomposer
from ember.capture.native.lowering.rows import (
    choosing,
    external,
    gathering,
    linear,
    matrices,
    pointwise,
    random,
    scans,
    shapes,
    structured,
)
from ember.capture.native.lowering.workspace import Lower

TABLE: dict[str, Lower] = {
    **external.ROWS,
    **pointwise.ROWS,
    **choosing.ROWS,
    **shapes.ROWS,
    **gathering.ROWS,
    **linear.ROWS,
    **matrices.ROWS,
    **scans.ROWS,
    **random.ROWS,
    # These use rows of the same names above.
    **structured.ROWS,
}
DECOMPOSER = Decomposer(frozenset(TABLE))
