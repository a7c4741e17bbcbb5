"""Einsum with plates and several outputs."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from opt_einsum import shared_intermediates
from torch import Tensor

from ember.ops.elimination import (
    Tree,
    check_plates_are_sensible,
    check_tree_structure,
    contract_tensor_tree,
    contract_to_tensor,
    partition_terms,
)
from ember.ops.packed import aligned, dims_of, tagged
from ember.ops.rings import BACKEND_TO_RING, Cache, LogRing, Ring
from ember.ops.tracing import ignore_jit_warnings as ignore_jit_warnings
from ember.ops.tracing import sizes_of
from ember.ops.unrolling import naive_ubersum as naive_ubersum

# Pyro's names for them, which programs read.
_check_plates_are_sensible = check_plates_are_sensible
_check_tree_structure = check_tree_structure
_partition_terms = partition_terms

__all__ = [
    "LogRing",
    "_check_plates_are_sensible",
    "_check_tree_structure",
    "_partition_terms",
    "contract_tensor_tree",
    "contract_to_tensor",
    "einsum",
    "ignore_jit_warnings",
    "naive_ubersum",
    "ubersum",
]


def einsum(
    equation: str,
    *operands: Tensor,
    plates: str = "",
    backend: str = "torch",
    cache: Cache | None = None,
    modulo_total: bool = False,
) -> tuple[Tensor, ...]:
    """Sums of products by tensor variable elimination, with plates and any number of outputs.

    Along plates results are multiplied, not summed. A letter that appears with plates only stands for as many variables as
    these have rows: ``einsum("ai,ai->", x, y, plates="i")`` is, for two rows,
    ``contract("a,b,a,b->", *x.T, *y.T)``. In an output such a letter needs all its plates. Work that the outputs have in
    common is done once.

    Args:
        equation: the letters of the operands and, after the arrow, of each result, separated by commas.
        plates: the letters that are plates.
        backend: ``"torch"``, or a module ``ember.ops.einsum.torch_*`` by name: the kind of sum and product.
        cache: results to share, as of ``opt_einsum.shared_intermediates``.
        modulo_total: whether each row of the plates of a result may be off by a factor of its own, which saves work where
            results are distributions whose totals do not matter. Outputs with letters need it.

    Returns:
        one tensor for each output.

    Raises:
        ValueError: if a letter has two sizes, or an output has a letter without its plates.
        NotImplementedError: if the cost would be exponential in a plate's size; for an ellipsis; for an unknown backend; for
            outputs with letters unless ``modulo_total`` is set.

    References:
        F. Obermeyer et al. (2019), "Tensor Variable Elimination for Plated Factor Graphs".

    >>> import torch
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> einsum("ia->", x, plates="i")
    (tensor(21.),)
    """
    ring_type = _ring_type(backend)
    if "." in equation:
        raise NotImplementedError("ubersum does not yet support ellipsis notation")
    inputs, outputs = (side.split(",") for side in equation.split("->"))
    assert len(inputs) == len(operands)
    assert all(isinstance(operand, Tensor) for operand in operands)
    if not modulo_total and any(outputs):
        raise NotImplementedError(
            "Try setting modulo_total=True and ensuring that your use case allows an arbitrary scale factor on "
            "each result plate."
        )
    if len({id(operand) for operand in operands}) < len(operands):
        operands = tuple(operand[...] for operand in operands)  # each with a tag of its own
    sizes = _sizes(inputs, operands)
    tree: Tree = OrderedDict()
    for dims, operand in zip(inputs, operands, strict=True):
        tree.setdefault(frozenset(plates).intersection(dims), []).append(tagged(operand, dims))
    with shared_intermediates(cache) as shared:
        ring = ring_type(shared, dim_to_size=sizes)
        return tuple(_result(tree, set().union(*inputs), output, set(plates), ring) for output in outputs)


def _ring_type(backend: str) -> type[Ring]:
    try:
        return BACKEND_TO_RING[backend]
    except KeyError:
        there = "\n".join(["Only the following pyro backends are currently implemented:", *BACKEND_TO_RING])
        raise NotImplementedError(there) from None


def _sizes(inputs: Sequence[str], operands: Sequence[Tensor]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for dims, operand in zip(inputs, operands, strict=True):
        for dim, size in zip(dims, sizes_of(operand), strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"Dimension size mismatch at dim '{dim}': {size} vs {sizes[dim]}")
    return sizes


def _result(tree: Tree, dims: set[str], output: str, plates: set[str], ring: Ring) -> Tensor:
    sum_dims = dims.union(output) - plates
    term = contract_to_tensor(
        tree,
        sum_dims,
        target_ordinal=frozenset(plates).intersection(output),
        target_dims=sum_dims.intersection(output),
        ring=ring,
    )
    return term if dims_of(term) == output else tagged(aligned(term, output), output)


def ubersum(equation: str, *operands: Tensor, **kwargs: Any) -> tuple[Tensor, ...]:
    """:func:`einsum` of logarithms, under its first name; use that instead."""
    warnings.warn(
        "'ubersum' is deprecated, use 'pyro.ops.contract.einsum' instead", DeprecationWarning, stacklevel=2
    )
    if "batch_dims" in kwargs:
        warnings.warn("'batch_dims' is deprecated, use 'plates' instead", DeprecationWarning, stacklevel=2)
        kwargs["plates"] = kwargs.pop("batch_dims")
    kwargs.setdefault("backend", "ember.ops.einsum.torch_log")
    return einsum(equation, *operands, **kwargs)
