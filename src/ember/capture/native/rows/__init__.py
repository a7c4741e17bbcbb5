"""The table of operators: how each is written in C."""

from __future__ import annotations

from ember.capture.native.lower import Lower
from ember.capture.native.rows import external, gathering, linear, pointwise, random, shapes

TABLE: dict[str, Lower] = {
    **external.ROWS,
    **pointwise.ROWS,
    **shapes.ROWS,
    **gathering.ROWS,
    **linear.ROWS,
    **random.ROWS,
}
