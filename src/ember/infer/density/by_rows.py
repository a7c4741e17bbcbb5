"""The functions of one row, run over many: captured, where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember.capture.rows.function import RowFunction, rows
from ember.errors import EmberError
from ember.infer.density.joint import Joint
from ember.infer.traces.validate_all import switches

_OF_THE_POINT = (ValueError, ArithmeticError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
"""What is raised where arguments of distributions are invalid, or a matrix cannot be factored. The first run has shown that the
model itself is in order."""


def by_rows(joint: Joint, function: Callable[[Tensor], Any], compile: bool = True) -> RowFunction:
    """A function of one row of a model, over many; where the model fails at a row, the result is NaN, and ``-inf`` and 0 for a
    density and its score.

    Args:
        joint: the model.
        function: one of its methods.
        compile: whether it may be captured.
    """
    program = joint.program
    return rows(
        function,
        instead=lambda error: _instead(joint, function, error),
        compile=compile,
        reads=(("the model", program.model), ("an argument", (program.args, program.kwargs))),
        facts=switches,
        example=(joint.structure.start,),
    )


def _instead(joint: Joint, function: Callable[[Tensor], Any], error: Exception) -> Any:
    if isinstance(error, EmberError) or not isinstance(error, _OF_THE_POINT):
        raise error
    start = joint.structure.start
    if function == joint.scored:
        return start.new_tensor(-torch.inf), torch.zeros_like(start)
    if function == joint.finite_density:
        return start.new_tensor(-torch.inf)
    with torch.no_grad():
        like: dict[str, Tensor] = function(start)
    return {name: torch.full_like(value, torch.nan) for name, value in like.items()}
