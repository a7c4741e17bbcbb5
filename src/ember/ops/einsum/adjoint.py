"""The way back through a contraction: from its result to a message for every factor.

Backends such as :mod:`ember.ops.einsum.torch_sample` leave at each result an object, its ``_pyro_backward``, that knows the
operands. Calling that of the last result sends messages back to the factors marked by :func:`require_backward`, where they
are left as ``_pyro_backward_result``. What a message says is the backend's affair: a sample of the dims summed out, their best
values, or a marginal.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.ops import packed
from ember.ops.packed import dims_of, tagged
from ember.ops.tracing import jit_iter, sizes_of

__all__ = [
    "Backward",
    "SAMPLE_SYMBOL",
    "einsum_backward_sample",
    "require_backward",
    "transpose",
    "unflatten",
]

# The dim along which a message stacks the values of several dims; it sorts before all letters.
SAMPLE_SYMBOL = " "

Sent = tuple["Backward", Tensor | None]


class Backward(ABC):
    """What to do at one result on the way back; calling it goes all the way."""

    is_leaf = False

    def __call__(self) -> None:
        """Send messages to all factors below, depth first and without recursion."""
        pending: list[Sent] = [(self, None)]
        while pending:
            node, message = pending.pop()
            pending.extend(node.process(message))

    @abstractmethod
    def process(self, message: Tensor | None) -> Iterable[Sent]:
        """The messages for the operands, given the one for the result."""


class _Leaf(Backward):
    is_leaf = True

    def __init__(self, target: Tensor) -> None:
        self.target = weakref.ref(target)  # the target holds this object

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        target = self.target()
        assert message is not target, "memory leak"
        if target is not None:
            target._pyro_backward_result = message  # type: ignore[attr-defined]
        return ()


def require_backward(tensor: Tensor) -> None:
    """Ask for a message to this factor; do so before it is contracted."""
    tensor._pyro_backward = _Leaf(tensor)  # type: ignore[attr-defined]


def backward_of(tensor: Tensor) -> Backward | None:
    """What a tensor does on the way back, or None if nothing behind it asked for a message."""
    return getattr(tensor, "_pyro_backward", None)


def with_backward(tensor: Tensor, backward: Backward) -> Tensor:
    """That tensor, with what to do on the way back."""
    tensor._pyro_backward = backward  # type: ignore[attr-defined]
    return tensor


class _Transposed(Backward):
    def __init__(self, operand: Tensor, axes: Sequence[int]) -> None:
        self.operand, self.axes = operand, list(axes)

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        backward = backward_of(self.operand)
        assert backward is not None
        if message is not None:
            rank = len(self.axes)
            message = message.permute([self.axes.index(place) for place in range(rank)])
        return ((backward, message),)


def transpose(a: Tensor, axes: Sequence[int]) -> Tensor:
    """The tensor with its dims in another order; messages find the way back."""
    result = a.permute(tuple(axes))
    if hasattr(a, "_pyro_dims"):
        tagged(result, "".join(dims_of(a)[axis] for axis in axes))
    return result if backward_of(a) is None else with_backward(result, _Transposed(a, axes))


def sample_dims_of(sample: Tensor) -> str:
    """The dims whose values a message holds, in the order in which they are stacked."""
    dims: str = sample._pyro_sample_dims  # type: ignore[attr-defined]
    return dims


def tagged_sample(sample: Tensor, dims: str, sample_dims: str) -> Tensor:
    """That tensor as a message: values of ``sample_dims``, stacked along the first of ``dims``."""
    sample = tagged(sample, dims)
    sample._pyro_sample_dims = sample_dims  # type: ignore[attr-defined]
    return sample


def slices_of(sample: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The values in a message, dim by dim."""
    for dim, values in zip(sample_dims_of(sample), jit_iter(sample), strict=True):
        yield dim, tagged(values, dims_of(sample)[1:])


def _joined(here: Tensor | None, above: Tensor | None) -> Tensor | None:
    """The values chosen here, read at those that were chosen above, and these too."""
    if here is None or above is None:
        return above if here is None else here
    assert not set(sample_dims_of(here)) & set(sample_dims_of(above))
    sample_dims = sample_dims_of(here) + sample_dims_of(above)
    for dim, values in slices_of(above):
        if dim in dims_of(here):
            here = packed.gather(here, values, dim)
            # Gathering is free in its order of dims, but ours are stacked along the first.
            assert dims_of(here)[0] == SAMPLE_SYMBOL
    # The stacks are of different lengths, so all dims but the first broadcast.
    rest = sorted({*dims_of(here), *dims_of(above)} - {SAMPLE_SYMBOL})
    dims = SAMPLE_SYMBOL + "".join(rest)
    parts = [packed.aligned(part, dims) for part in (here, above)]
    shape = [
        max(sizes) if 0 not in sizes else 0
        for sizes in zip(*(sizes_of(part)[1:] for part in parts), strict=True)
    ]
    stacked = torch.cat([part.expand(-1, *shape) for part in parts])
    return tagged_sample(stacked, dims, sample_dims)


def einsum_backward_sample(
    operands: Sequence[Tensor], sample1: Tensor | None, sample2: Tensor | None
) -> Iterator[Sent]:
    """The messages to the operands of an einsum whose dims take values.

    Args:
        operands: packed tensors.
        sample1: values of the dims summed out here, for every value of the others; None if there are none.
        sample2: values of dims of the result, or None.

    Yields:
        for each operand, what to do there, and the values of its own dims.
    """
    sample = _joined(sample1, sample2)
    for operand in operands:
        backward = backward_of(operand)
        if backward is None:
            continue
        chosen = "" if sample is None else sample_dims_of(sample)
        own = "".join(sorted(set(dims_of(operand)) & set(chosen)))
        if sample is None or not own:
            yield backward, None
        elif len(own) == len(chosen):
            yield backward, sample
        else:
            part = torch.stack([sample[chosen.index(dim)] for dim in own])
            yield backward, tagged_sample(part, dims_of(sample), own)


def unflatten(
    flat_sample: Tensor, output_dims: str, contract_dims: str, contract_shape: Sequence[Any]
) -> Tensor:
    """A message out of positions in a flattened table of several dims.

    Args:
        flat_sample: the positions, with the dims ``output_dims``.
        contract_dims: the dims of the table, at least one, of sizes ``contract_shape``.

    >>> unflatten(torch.tensor(5), "", "ab", (2, 3))
    tensor([1, 2])
    """
    assert contract_dims
    values = []
    for size in reversed(contract_shape[1:]):
        values.append(flat_sample % size)
        flat_sample = torch.div(flat_sample, size, rounding_mode="floor")
    values.append(flat_sample)
    return tagged_sample(torch.stack(values[::-1]), SAMPLE_SYMBOL + output_dims, contract_dims)
