"""What code asks of tensors to find an odd case: the answer is hardly ever another, so that a program may take it for granted."""

from __future__ import annotations

from typing import Any, Protocol

import torch

aten = torch.ops.aten
_WHOLE = (aten.any.default, aten.all.default)
_EQUALITY = (aten.eq.Scalar, aten.eq.Tensor, aten.ne.Scalar, aten.ne.Tensor)


class Operation(Protocol):
    """An operator of the run, as the recorder keeps it."""

    target: Any
    uses: list[Any]


def finds_odd_cases(func: Any, args: Any, asked: Operation) -> bool:
    """Whether a question is one of these: whether floats are exactly equal, or whether something holds anywhere, or everywhere,
    in a tensor (a variance below zero, a matrix without a factor).

    Args:
        func: the operator that reads values.
        args: its arguments.
        asked: the operation that has made the first of these.
    """
    if func is aten.equal.default:
        return True
    if func is not aten._local_scalar_dense.default or args[0].dtype != torch.bool:
        return False
    is_equality = asked.target in _EQUALITY and asked.uses[0].meta.dtype.is_floating_point
    return is_equality or asked.target in _WHOLE
