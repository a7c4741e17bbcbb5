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

    Drawn as ``Categorical`` draws, so that seeded samples are Pyro's. A row of zeros gives place 0.
    """
    top = logits.amax(-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).min)
    probs = (logits - top).exp()
    first, others = probs[..., :1], probs[..., 1:]
    first = torch.where((probs == 0).all(-1, keepdim=True), 1.0, first)
    flat = torch.cat([first, others], -1).reshape(-1, probs.shape[-1])
    return torch.multinomial(flat, 1, replacement=True).reshape(probs.shape[:-1])


class _Sample(Backward):
    def __init__(self, output: str, operands: Sequence[Tensor]) -> None:
        self.output, self.operands = output, operands

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        return einsum_backward_sample(self.operands, self._drawn_here(message), message)

    def _drawn_here(self, message: Tensor | None) -> Tensor | None:
        """Values of the dims summed here, given the values that are already drawn."""
        output = self.output
        summed = "".join(sorted(set().union(*map(dims_of, self.operands)) - set(output)))
        if not summed:
            return None
        factors = list(self.operands)
        if message is not None:
            for dim, values in slices_of(message):
                factors = [packed.gather(x, values, dim) if dim in dims_of(x) else x for x in factors]
        # Rows in the order of the result's dims: it decides which row gets which random numbers.
        left = set().union(*map(dims_of, factors)) - set(summed)
        batch = "".join(sorted(left, key=f"{output}{''.join(sorted(left))}".index))
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
