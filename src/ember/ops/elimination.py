"""Tensor variable elimination: sums of products over factor graphs with plates.

Variables inside a plate are as many as the plate has rows, but they are summed out all at once, as long as plates nest like a
tree: a variable in two plates that lets one of them go would couple all rows of the other, at exponential cost.

References:
    F. Obermeyer, E. Bingham, M. Jankowiak, J. Chiu, N. Pradhan, A. Rush, N. Goodman (2019), "Tensor Variable Elimination for
    Plated Factor Graphs".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from torch import Tensor

from ember.ops.packed import dims_of
from ember.ops.rings import Cache, LogRing, Ordinal, Ring

__all__ = ["contract_tensor_tree", "contract_to_tensor"]

_Component = tuple[list[tuple[Ordinal, Tensor]], set[str]]
Tree = OrderedDict[Ordinal, list[Tensor]]


def check_plates_are_sensible(output_dims: AbstractSet[str], nonoutput_ordinal: AbstractSet[Any]) -> None:
    """Raise a ValueError if an output has a dim of a plate that is summed out."""
    if output_dims and nonoutput_ordinal:
        plates = ",".join(sorted(map(_plate_name, nonoutput_ordinal)))
        raise ValueError(
            "It is nonsensical to preserve a plated dim without preserving all of that dim's plates, "
            f"but found '{set(output_dims)}' without '{plates}'"
        )


def _plate_name(plate: object) -> str:
    return str(getattr(plate, "name", plate))


def check_tree_structure(parent: Ordinal, leaf: Ordinal) -> None:
    """Raise a NotImplementedError if the plates do not nest as a tree."""
    if parent == leaf:
        plates = ", ".join(sorted(map(_plate_name, leaf)))
        raise NotImplementedError(
            f"Expected tree-structured plate nesting, but found dependencies on independent plates [{plates}]. "
            "Try converting one of the vectorized plates to a sequential plate (but beware exponential cost in "
            "the size of the sequence)"
        )


def _components(inputs: Sequence[str], dims: AbstractSet[str]) -> list[tuple[list[int], set[str]]]:
    """Which factors hang together by ``dims``: their numbers and these dims, component by component."""
    holders: dict[str, list[int]] = {}
    for number, letters in enumerate(inputs):
        for dim in letters:
            if dim in dims:
                holders.setdefault(dim, []).append(number)
    components: list[tuple[list[int], set[str]]] = []
    seen: set[int] = set()
    for start in range(len(inputs)):
        if start in seen:
            continue
        seen.add(start)
        pending, members, joined = [start], [], set[str]()
        while pending:
            number = pending.pop()
            members.append(number)
            for dim in inputs[number]:
                if dim in dims and dim not in joined:
                    joined.add(dim)
                    fresh = [other for other in dict.fromkeys(holders[dim]) if other not in seen]
                    seen.update(fresh)
                    pending.extend(fresh)
        components.append((sorted(members), joined))
    # The order in which samples are drawn on the way back, which a seed makes Pyro's.
    return sorted(components, key=lambda component: max(component[1], default=""), reverse=True)


def partition_terms(
    ring: Ring, terms: Sequence[Tensor], dims: AbstractSet[str]
) -> list[tuple[list[Tensor], set[str]]]:
    """The terms in groups that share no dim of ``dims``; each group with the dims that it has."""
    components = _components([dims_of(term) for term in terms], dims)
    return [([terms[number] for number in numbers], joined) for numbers, joined in components]


class _Elimination:
    """One connected component, whose variables are summed out plate by plate from the innermost outwards.

    Attributes:
        terms: the factors, by ordinal.
        variables: the dims still to be summed out or kept, by the ordinal that they belong to: the plates that all of their
            factors share.
        target_dims: dims to be kept.
        local_terms: parts of factors left behind in their plates, where kept dims need them.
    """

    def __init__(
        self,
        ring: Ring,
        terms: Iterable[tuple[Ordinal, Tensor]],
        sum_dims: AbstractSet[str],
        target_dims: AbstractSet[str],
    ) -> None:
        self.ring, self.sum_dims, self.target_dims = ring, frozenset(sum_dims), target_dims
        self.terms: dict[Ordinal, list[Tensor]] = {}
        home: dict[str, Ordinal] = {}
        for ordinal, term in terms:
            self.terms.setdefault(ordinal, []).append(term)
            for dim in self.sum_dims.intersection(dims_of(term)):
                home[dim] = home.get(dim, ordinal) & ordinal
        self.home = home
        self.variables: dict[Ordinal, set[str]] = {}
        for dim in sorted(home):
            self.variables.setdefault(home[dim], set()).add(dim)
        self.root: Ordinal = frozenset.intersection(*self.terms)
        self.local_terms: list[Tensor] = []
        self.local_dims = set(target_dims)
        self.local_ordinal: Ordinal = frozenset()

    def run(self) -> tuple[Ordinal, Tensor]:
        """The one term that is left, and its ordinal."""
        while self.variables:
            self._eliminate(max(self.terms, key=len))  # an innermost one
        assert list(self.terms) == [self.root]
        (term,) = self.terms[self.root]
        if not self.local_terms:
            return self.root, term
        term = self.ring.sumproduct([*self.local_terms, term], self.local_dims - self.target_dims)
        return self.root | self.local_ordinal, term

    def _eliminate(self, leaf: Ordinal) -> None:
        """Sum out the variables of an innermost ordinal, and hand the results to the plates around it."""
        terms = self.terms.pop(leaf)
        variables = self.variables.pop(leaf, set())
        for group, dims in partition_terms(self.ring, terms, variables):
            term = self.ring.sumproduct(group, sorted(dims - self.local_dims))
            if leaf == self.root:
                self.terms.setdefault(leaf, []).append(term)
            else:
                self._hand_over(term, leaf, dims & self.local_dims)

    def _hand_over(self, term: Tensor, leaf: Ordinal, kept: AbstractSet[str]) -> None:
        pending = self.sum_dims.intersection(dims_of(term)) - kept
        homes = [self.home[dim] for dim in sorted(pending) if self.home[dim] in self.variables]
        parent: Ordinal = frozenset().union(*homes)
        check_tree_structure(parent, leaf)
        if kept:
            term, local = self.ring.global_local(term, kept, leaf - parent)
            self.local_terms.append(local)
            self.local_dims |= self.sum_dims.intersection(dims_of(local))
            self.local_ordinal |= leaf
        else:
            term = self.ring.product(term, leaf - parent)
        self.terms.setdefault(parent, []).append(term)


def _grouped(tensor_tree: Tree, sum_dims: AbstractSet[str]) -> list[_Component]:
    """The connected components of a tree, with their dims."""
    placed = [(ordinal, term) for ordinal, terms in tensor_tree.items() for term in terms]
    components = _components([dims_of(term) for _, term in placed], sum_dims)
    return [([placed[number] for number in numbers], dims) for numbers, dims in components]


def contract_tensor_tree(
    tensor_tree: Tree, sum_dims: set[str], cache: Cache | None = None, ring: Ring | None = None
) -> Tree:
    """Sum out all variables; plates are multiplied over as far as the sums need it.

    Args:
        tensor_tree: packed factors, by ordinal: the frozenset of the plates that they are in.
        sum_dims: all dims that are variables; the others are plates.
        cache: results to share, as of ``opt_einsum.shared_intermediates``.
        ring: the operations; sums of logarithms if None.

    Returns:
        a tree of factors without variables, one for each connected component.

    Raises:
        NotImplementedError: if plates do not nest like a tree.

    >>> import torch
    >>> from ember.ops.packed import tagged
    >>> x = tagged(torch.tensor([[0.1, 0.2], [0.3, 0.4]]).log(), "ia")
    >>> (term,) = contract_tensor_tree(OrderedDict({frozenset("i"): [x]}), {"a"})[frozenset("i")]
    >>> term.exp()
    tensor([0.3000, 0.7000])
    """
    assert isinstance(tensor_tree, OrderedDict)
    assert isinstance(sum_dims, set)
    ring = LogRing(cache) if ring is None else ring
    contracted: Tree = OrderedDict()
    for terms, dims in _grouped(tensor_tree, sum_dims):
        ordinal, term = _Elimination(ring, terms, dims, frozenset()).run()
        contracted.setdefault(ordinal, []).append(term)
    return contracted


def contract_to_tensor(
    tensor_tree: Tree,
    sum_dims: set[str],
    target_ordinal: Ordinal | None = None,
    target_dims: set[str] | None = None,
    cache: Cache | None = None,
    ring: Ring | None = None,
) -> Tensor:
    """Sum out variables and multiply over plates until one tensor is left.

    Args:
        tensor_tree, sum_dims, cache, ring: as for :func:`contract_tensor_tree`.
        target_ordinal: the plates of the result; none if None.
        target_dims: variables to be kept. If there are any, components without them are left out: the result is up to a
            factor in each row of its plates.

    Raises:
        ValueError: if a variable is to be kept without all its plates.
        NotImplementedError: if plates do not nest like a tree.

    >>> import torch
    >>> from ember.ops.packed import tagged
    >>> x = tagged(torch.tensor([[0.1, 0.2], [0.3, 0.4]]).log(), "ia")
    >>> contract_to_tensor(OrderedDict({frozenset("i"): [x]}), {"a"}).exp()
    tensor(0.2100)
    """
    plates: Ordinal = frozenset() if target_ordinal is None else target_ordinal
    kept = set() if target_dims is None else target_dims
    assert isinstance(tensor_tree, OrderedDict)
    assert isinstance(sum_dims, set)
    assert isinstance(plates, frozenset)
    assert isinstance(kept, set) and kept <= sum_dims
    ring = LogRing(cache) if ring is None else ring
    contracted = []
    for terms, dims in _grouped(tensor_tree, sum_dims):
        if kept and dims.isdisjoint(kept):
            continue
        ordinal, term = _Elimination(ring, terms, dims, kept & dims).run()
        surplus = ordinal - plates
        check_plates_are_sensible(kept.intersection(dims_of(term)), surplus)
        contracted.append(ring.product(term, surplus) if surplus else term)
    return ring.broadcast(ring.sumproduct(contracted, ()), plates)
