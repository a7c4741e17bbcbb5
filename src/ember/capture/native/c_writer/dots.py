"""Nests that are sums of products along rows, which a function of the C headers does a group of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ember.capture.native.c_writer.places import Base, Places, Pointers
from ember.capture.native.loops.geometry import Geometry
from ember.capture.native.loops.structure import Nest
from ember.capture.native.values.arrays import Access, Pointwise, Reduce
from ember.capture.native.values.dtypes import DTYPES
from ember.capture.native.values.expressions import Op, Operand

# Longer sums of float32 are added up in float64, block by block.
_MOST_COLUMNS = 2048
FEWEST_ROWS = 16
_PRODUCT = Op("mul", (Operand(0), Operand(1)))


@dataclass(frozen=True)
class Dots:
    """``result[i] = sum(matrix[i, j] * vector[j] for j)``, each read as accesses say."""

    matrix: Access
    vector: Access
    result: Reduce
    rows: int
    columns: int

    @property
    def stride(self) -> int:
        """From row to row."""
        return self.matrix.strides[0]

    def call(self, places: Places, memory: Pointers, first: str, rows: str) -> str:
        """The statement for rows from one on."""
        target = places.base(self.result)
        step = self.result.strides[0]
        arguments = (
            _address(memory, places.base(self.matrix.value), self.matrix.offset, first, self.stride),
            str(self.stride),
            _address(memory, places.base(self.vector.value), self.vector.offset, "0", 0),
            _address(memory, target, 0, "0" if target.is_local else first, step),
            str(step),
            rows,
            str(self.columns),
        )
        return f"ember_row_dots_{DTYPES[self.result.dtype].suffix}({', '.join(arguments)});"


def _address(memory: Pointers, base: Base, offset: int, row: str, stride: int) -> str:
    start = f"{memory.start(base)} + {offset}" if offset else memory.start(base)
    return start if row == "0" else f"{start} + {stride} * {row}"


def dots_of(nest: Nest, geometry: Geometry, places: Places) -> Dots | None:
    """What a nest is, if it is just this."""
    if len(geometry.dims) != 2 or len(nest.dims) != 2 or len(nest.items) != 2:
        return None
    product, result = nest.items
    if not isinstance(product, Pointwise) or not isinstance(result, Reduce) or places.is_stored(product):
        return None
    rows, columns = nest.dims
    is_sum = result.rule == "sum" and result.kept == (0,) and result.operand.value is product
    if not is_sum or not result.operand.is_identity(nest.dims) or rows < FEWEST_ROWS:
        return None
    dtypes = {result.dtype, product.dtype, *product.types, *(a.value.dtype for a in product.inputs)}
    if (
        product.expression != _PRODUCT
        or len(dtypes) != 1
        or any(a.number is not None for a in product.inputs)
    ):
        return None
    if result.dtype not in (torch.float32, torch.float64) or columns > _MOST_COLUMNS:
        return None
    for matrix, vector in (product.inputs, product.inputs[::-1]):
        if vector.strides == (0, 1) and matrix.strides[1] == 1 and matrix.strides[0] >= columns:
            local = places.base(vector.value).is_local or places.base(matrix.value).is_local
            return None if local else Dots(matrix, vector, result, rows, columns)
    return None
