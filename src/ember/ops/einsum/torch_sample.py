"""Einsum in log space; on the way back, values drawn from the joint distribution that the factors define."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor

from ember.ops import packed
from ember.ops.einsum import torch_log
from ember.ops.einsum.adjoint import (
    Backward,
    Sent,
    backward_of,
    einsum_backward_sample,
    slices_of,
    transpose,
    unflatten,
    with_backward,
)
from ember.ops.einsum.tensordot import Tensordot
from ember.ops.packed import dims_of, tagged
from ember.ops.tracing import sizes_of

__all__ = ["transpose", "einsum", "tensordot"]


def _draw(logits: Tensor) -> Tensor:
    """One place along the last dim for each row, with probability proportional to the exponential.

    The inverse of the distribution function, so that no row asks for its total. A row of zeros gives place 0.
    """
    top = logits.amax(-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).min)
    probs = (logits - top).exp()
    below = probs.cumsum(-1)
    threshold = torch.rand_like(below[..., -1:]) * below[..., -1:]
    # The first place above the threshold, or if rounding leaves none, the first one; never one of probability zero.
    rank = (probs > 0).long() * (1 + (below > threshold).long())
    return rank.argmax(-1)


class _Sample(Backward):
    def __init__(self, output: str, operands: Sequence[Tensor]) -> None:
        self.output, self.operands = output, operands

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        return einsum_backward_sample(self.operands, self._drawn_here(message), message)

    def _drawn_here(self, message: Tensor | None) -> Tensor | None:
        """Values of the dims summed here, given the values that are already drawn."""
        summed = "".join(sorted(set().union(*map(dims_of, self.operands)) - set(self.output)))
        if not summed:
            return None
        factors = list(self.operands)
        if message is not None:
            for dim, values in slices_of(message):
                factors = [packed.gather(x, values, dim) if dim in dims_of(x) else x for x in factors]
        batch = "".join(sorted(set().union(*map(dims_of, factors)) - set(summed)))
        logits = reduce(torch.add, (packed.aligned(factor, batch + summed) for factor in factors))
        shape = sizes_of(logits)[len(batch) :]
        return unflatten(_draw(logits.detach().flatten(len(batch))), batch, summed, shape)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """As :func:`ember.ops.einsum.torch_log.einsum`, of packed tensors."""
    equation = packed.rename_equation(equation, *operands)
    output = equation.split("->")[1]
    result = tagged(torch_log.einsum(equation, *operands), output)
    if any(backward_of(operand) is not None for operand in operands):
        return with_backward(result, _Sample(output, operands))
    return result


tensordot = Tensordot(einsum)
