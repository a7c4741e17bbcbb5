"""Einsum in log space; on the way back, each factor's marginal, not normalised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from ember.ops.einsum import torch_log
from ember.ops.einsum.adjoint import Backward, Sent, backward_of, transpose, with_backward
from ember.ops.einsum.tensordot import Tensordot
from ember.ops.tracing import sizes_of

__all__ = ["transpose", "einsum", "tensordot"]


class _Marginal(Backward):
    def __init__(self, equation: str, operands: Sequence[Tensor]) -> None:
        self.equation, self.operands = equation, operands

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        inputs, output = self.equation.split("->")
        factors = list(zip(inputs.split(","), self.operands, strict=True))
        above = [] if message is None else [(output, message)]
        for place, (dims, operand) in enumerate(factors):
            backward = backward_of(operand)
            if backward is None:
                continue
            # At a factor its own weight belongs to the marginal; on the way there, it is still to come.
            own = factors[place : place + 1] if backward.is_leaf else []
            yield backward, _onto(dims, operand, factors[:place] + own + factors[place + 1 :] + above)


def _onto(dims: str, operand: Tensor, others: Sequence[tuple[str, Tensor]]) -> Tensor | None:
    """The product of the others, summed down to the dims of the operand and spread over those that it lacks."""
    if not others:
        return None
    letters = ",".join(other for other, _ in others)
    shared = "".join(dim for dim in dims if dim in letters)
    result = torch_log.einsum(f"{letters}->{shared}", *(tensor for _, tensor in others))
    for place, dim in enumerate(dims):
        if dim not in shared:
            result = result.unsqueeze(place)
    return result.expand(sizes_of(operand))


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """As :func:`ember.ops.einsum.torch_log.einsum`."""
    result = torch_log.einsum(equation, *operands)
    if any(backward_of(operand) is not None for operand in operands):
        return with_backward(result, _Marginal(equation, operands))
    return result


tensordot = Tensordot(einsum)
