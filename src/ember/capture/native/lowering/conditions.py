"""Truth values as one expression of what they are computed from.

A loop over float32 that keeps truth values in bytes works on a quarter of the numbers that fit into a vector.
"""

from __future__ import annotations

import torch

from ember.capture.native.values.arrays import Access, Pointwise
from ember.capture.native.values.expressions import Expression, Op, Operand, mapped
from ember.capture.native.values.layout import Dims

_COMPARED = ("eq", "ne", "lt", "le", "gt", "ge", "and", "or")
"""What gives 0 or 1 in C, too."""


def condition(access: Access, dims: Dims) -> tuple[Expression, list[tuple[Access, torch.dtype]]]:
    """What a reader over ``dims`` finds behind an access to truth values, over its operands in their dtypes."""
    found = _Operands(dims)
    return found.of(access, torch.bool), list(found.operands.values())


class _Operands:
    def __init__(self, dims: Dims) -> None:
        self.operands: dict[object, tuple[Access, torch.dtype]] = {}
        self._dims = dims

    def of(self, access: Access, dtype: torch.dtype) -> Expression:
        value = access.value
        if isinstance(value, Pointwise) and _is_compared(value) and access.is_identity(self._dims):
            inner = value
            return mapped(
                inner.expression,
                lambda part: (
                    self.of(inner.inputs[part.position], inner.types[part.position])
                    if isinstance(part, Operand)
                    else part
                ),
            )
        key = (access.key, dtype)
        self.operands.setdefault(key, (access, dtype))
        return Operand(list(self.operands).index(key))


def _is_compared(value: Pointwise) -> bool:
    return (
        value.dtype is torch.bool and isinstance(value.expression, Op) and value.expression.name in _COMPARED
    )
