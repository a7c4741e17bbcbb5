"""All rows at once by torch's vmap over the recorded operators: where no loop in C can be made, for want of a compiler, say."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from ember.capture.checked import CheckedGraph
from ember.capture.recording.graph import CapturedGraph
from ember.capture.rows.calls import Call
from ember.capture.rows.loops import PutBad, RowProgram, Shapes, outputs_of

_FEWEST = 8
"""Rows of a block that is not halved."""
_MOST_BYTES = 2**27
"""About as much memory as the values between may take."""


class BatchedLoop:
    """Operators over blocks of rows. A block in which an operator raises is halved; a small one is left to a loop over its rows.

    Args:
        graph: recorded for one row; it draws nothing.
        row: inputs of one row.
        shared: inputs that all rows share.
        by_row: takes the rows of such a block.
    """

    backend = "vmap"
    source = ""

    def __init__(
        self, graph: CapturedGraph, row: Sequence[Tensor], shared: Sequence[Tensor], by_row: RowProgram
    ) -> None:
        checked = CheckedGraph(graph, [*row, *shared])
        self._function = torch.func.vmap(
            checked.module.forward, in_dims=(*[0] * len(row), *[None] * len(shared))
        )
        self._has_flag = checked.has_flag
        self._by_row = by_row
        self._size = max(1, _MOST_BYTES // max(1, _bytes_of(graph)))
        self.note = ""
        self.outputs: Shapes = outputs_of(graph)

    def run(self, call: Call, shared: Sequence[Tensor], outputs: Sequence[Tensor], put_bad: PutBad) -> None:
        blocks = [
            (start, min(start + self._size, call.num_rows)) for start in range(0, call.num_rows, self._size)
        ]
        while blocks:
            start, stop = blocks.pop()
            try:
                with torch.no_grad(), _slow_ones_unsaid():
                    results = self._function(*(tensor[start:stop] for tensor in call.rows), *shared)
            except (ValueError, ArithmeticError, RuntimeError, IndexError):
                # One row is enough to make it fail: the others shall not pay for that.
                if stop - start > _FEWEST:
                    middle = (start + stop) // 2
                    blocks += [(start, middle), (middle, stop)]
                else:
                    parts = [output[start:stop] for output in outputs]
                    own = call.between(start, stop)
                    self._by_row.run(own, shared, parts, partial(_put_from, put_bad, start))
                continue
            for output, result in zip(outputs, results[1:], strict=False):  # a flag may be last
                output[start:stop] = result
            if self._has_flag:
                for index in results[-1].nonzero().flatten().tolist():
                    put_bad(start + index)


def _put_from(put_bad: PutBad, start: int, index: int) -> None:
    put_bad(start + index)


def _bytes_of(graph: CapturedGraph) -> int:
    """Of all values of one row together."""
    total = 0
    for node in graph.graph.nodes:
        metas = node.meta.get("ember", ())
        for meta in metas if isinstance(metas, tuple) else (metas,):
            total += 0 if meta is None else math.prod(meta.shape) * meta.dtype.itemsize
    return total


@contextmanager
def _slow_ones_unsaid() -> Iterator[None]:
    # Operators without a rule of their own are looped over inside: that is what this is instead of.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*batching rule.*")
        yield
