"""What computing a value costs, roughly, in nanoseconds on one core: enough to choose between ways of doing it."""

from __future__ import annotations

import math
from functools import lru_cache

from ember.capture.native.values.arrays import Assemble, Constant, Input, Pointwise, Reduce, Take, Value
from ember.capture.native.values.calls import Result, TorchCall
from ember.capture.native.values.expressions import Expression, Function, Op, parts

READ = 0.2
"""One element of memory, in the caches or nearly so."""
ARITHMETIC = 0.1
_DIVISION = 0.5
_CHEAP_FUNCTION = 0.3
_CHEAP = ("pick", "max", "min", "trunc", "floor", "ceil", "round", "fabs", "sqrt", "sign", "copysign", "fma")
_FUNCTION = 2.0
_SLOW_FUNCTION = 15.0
_SLOW = (
    "lgamma",
    "digamma",
    "polygamma",
    "igamma",
    "erfinv",
    "i0",
    "i1",
    "sinc",
    "log_ndtr",
    "ndtri",
    "zeta",
)
TORCH_CALL = 2000.0


def cost(value: Value) -> float:
    """Of the value alone, its operands being there."""
    if isinstance(value, Constant | Input):
        return 0.0
    if isinstance(value, Pointwise):
        return value.numel * _of_expression(value.expression)
    if isinstance(value, Reduce):
        return math.prod(value.domain) * READ
    if isinstance(value, Take):
        return value.numel * 1.0
    if isinstance(value, Assemble):
        return value.extent * READ
    if isinstance(value, Result) and isinstance(value.call, TorchCall):
        return TORCH_CALL + value.numel
    return value.numel * 1.0


def cost_at_element(value: Pointwise) -> float:
    """Of one element of a value."""
    return _of_expression(value.expression)


@lru_cache(4096)
def _of_expression(whole: Expression) -> float:
    total = 0.0
    for part in parts(whole):
        if isinstance(part, Function):
            slow = _SLOW_FUNCTION if part.name.startswith(_SLOW) else _FUNCTION
            total += _CHEAP_FUNCTION if part.name in _CHEAP else slow
        elif isinstance(part, Op):
            total += _DIVISION if part.name == "div" else ARITHMETIC
    return total
