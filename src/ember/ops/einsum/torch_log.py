"""Einsum in log space: products are sums, and sums are ``logsumexp``.

A backend of :func:`ember.ops.einsum.contract`, and of ``opt_einsum.contract`` under this module's name.
"""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from ember.ops.einsum.tensordot import Tensordot
from ember.ops.logspace import logmatmulexp, logsumexp
from ember.ops.packed import arranged
from ember.ops.tracing import sizes_of

__all__ = ["transpose", "einsum", "tensordot"]

# All pairs are summed while there are few of them, or not many more than numbers in the operands: exact then, and as fast.
_FEW = 2**18
_NOT_MANY = 16


def transpose(a: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The tensor with its dims in another order."""
    return a.permute(axes)


def _diagonal(x: Tensor, own: str) -> tuple[Tensor, str]:
    """The same factor without the second of two equal letters."""
    for dim in own:
        while own.count(dim) > 1:
            first = own.index(dim)
            second = own.index(dim, first + 1)
            x = x.diagonal(dim1=first, dim2=second)  # puts the diagonal last
            own = own[:first] + own[first + 1 : second] + own[second + 1 :] + dim
    return x, own


def _without_its_own(x: Tensor, own: str, output: str, letters: list[str]) -> tuple[Tensor, str]:
    """The same factor, summed over the dims that no other factor and not the output has."""
    alone = [
        place
        for place, dim in enumerate(own)
        if dim not in output and sum(dim in dims for dims in letters) == 1
    ]
    return logsumexp(x, alone), "".join(dim for place, dim in enumerate(own) if place not in alone)


def _as_matrices(
    x: Tensor, x_dims: str, y: Tensor, y_dims: str, output: str, sizes: dict[str, int]
) -> Tensor:
    """The contraction of two operands as a product of matrices, none of whose dims is of one of them alone and summed."""
    batch = "".join(dim for dim in output if dim in x_dims and dim in y_dims)
    rows = "".join(dim for dim in output if dim not in y_dims)
    columns = "".join(dim for dim in output if dim not in x_dims)
    inner = "".join(dim for dim in x_dims if dim in y_dims and dim not in output)

    def size(dims: str) -> int:
        return math.prod(sizes[dim] for dim in dims)

    shape = [sizes[dim] for dim in batch]
    left = arranged(x, x_dims, batch + rows + inner).reshape([*shape, size(rows), size(inner)])
    right = arranged(y, y_dims, batch + inner + columns).reshape([*shape, size(inner), size(columns)])
    product = logmatmulexp(left, right).reshape([sizes[dim] for dim in batch + rows + columns])
    return arranged(product, batch + rows + columns, output)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """The einsum of tensors of logarithms.

    Zeros, that is entries of minus infinity, have the gradient 0. Where the result has far more terms than the operands have
    entries, it is computed as :func:`ember.ops.logspace.logmatmulexp`.

    >>> x = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    >>> einsum("ab,bc->ac", x.log(), x.log()).exp()
    tensor([[0.2500, 0.7500],
            [0.0000, 1.0000]])
    """
    inputs, output = equation.split("->")
    letters = inputs.split(",")
    if len(letters) == 1 and letters[0] == output:
        return operands[0].clone()  # another object, as callers tag it
    factors = list(operands)
    for place, dims in enumerate(letters):
        if len(set(dims)) < len(dims):
            factors[place], letters[place] = _diagonal(factors[place], dims)
    sizes = {
        d: n for dims, x in zip(letters, factors, strict=True) for d, n in zip(dims, sizes_of(x), strict=True)
    }
    for place, dims in enumerate(letters):
        if len(set(dims)) < len(sizes):
            factors[place], letters[place] = _without_its_own(factors[place], dims, output, letters)
    sizes = {
        dim: size for dim, size in sizes.items() if dim in output or any(dim in dims for dims in letters)
    }
    summed = "".join(sorted(set(sizes) - set(output)))
    if len(factors) == 2 and summed:
        terms = math.prod(sizes.values())
        if terms > max(_FEW, _NOT_MANY * sum(math.prod(sizes_of(x)) for x in factors)):
            return _as_matrices(factors[0], letters[0], factors[1], letters[1], output, sizes)
    dims = output + summed
    joint = reduce(torch.add, (arranged(x, own, dims) for x, own in zip(factors, letters, strict=True)))
    if joint is operands[0]:
        joint = joint.clone()
    return logsumexp(joint, range(len(output), len(dims)))


tensordot = Tensordot(einsum)
