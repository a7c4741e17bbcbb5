"""Einsum in log space with the maximum for the sum; on the way back, the values at which it is reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor

from ember.ops import packed
from ember.ops.einsum.adjoint import (
    Backward,
    Sent,
    backward_of,
    einsum_backward_sample,
    transpose,
    unflatten,
    with_backward,
)
from ember.ops.einsum.tensordot import Tensordot
from ember.ops.packed import dims_of, tagged
from ember.ops.tracing import sizes_of

__all__ = ["transpose", "einsum", "tensordot"]


class _Argmax(Backward):
    def __init__(self, operands: Sequence[Tensor], argmax: Tensor | None) -> None:
        self.operands, self.argmax = operands, argmax

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        return einsum_backward_sample(self.operands, self.argmax, message)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """The maximum over the dims that are not in the output of the sum of packed tensors.

    >>> einsum("ab->a", tagged(torch.tensor([[1.0, 3.0], [2.0, 0.0]]), "ab"))
    tensor([3., 2.])
    """
    output = packed.rename_equation(equation, *operands).split("->")[1]
    wanted = any(backward_of(operand) is not None for operand in operands)
    maximised = "".join(sorted(set().union(*map(dims_of, operands)) - set(output)))
    table = reduce(torch.add, (packed.aligned(operand, output + maximised) for operand in operands))
    argmax = None
    if maximised:
        shape = sizes_of(table)[len(output) :]
        table, places = table.flatten(len(output)).max(-1)
        if wanted:
            argmax = unflatten(places, output, maximised, shape)
    elif table is operands[0]:
        table = table[...]  # another object, which is tagged on its own
    result = tagged(table, output)
    return with_backward(result, _Argmax(operands, argmax)) if wanted else result


tensordot = Tensordot(einsum)
