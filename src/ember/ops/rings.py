"""Rings: what "sum" and "product" mean when variables and plates are eliminated.

Elimination sums over variables and multiplies over plates. With other pairs of operations the same algorithm gives likelihoods,
most probable values, samples or marginals (J. Goodman (1999), "Semiring parsing").
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import Tensor

from ember.ops.einsum import contract
from ember.ops.einsum.adjoint import (
    SAMPLE_SYMBOL,
    Backward,
    Sent,
    backward_of,
    sample_dims_of,
    tagged_sample,
    with_backward,
)
from ember.ops.packed import aligned, dims_of, tagged
from ember.ops.tracing import sizes_of

__all__ = ["BACKEND_TO_RING", "LinearRing", "LogRing", "MapRing", "MarginalRing", "Ring", "SampleRing"]

# How many terms are contracted in opt_einsum's order, which takes long to find for many.
_FEW = 64

Ordinal = frozenset[Any]
Cache = dict[Any, Any]


class Ring(ABC):
    """The operations of elimination on packed tensors.

    Dims that are summed over are variables; a set of dims that are multiplied over, the plates that a factor is in, is its
    *ordinal*, a frozenset. Results are remembered in a cache that may be one of ``opt_einsum.shared_intermediates``.

    Args:
        cache: that cache; one of its own if None.
        dim_to_size: the size of each plate, which :meth:`broadcast` needs.
    """

    _dim_to_size: dict[str, int]

    def __init__(self, cache: Cache | None = None, dim_to_size: dict[str, int] | None = None) -> None:
        self._cache: Cache = {} if cache is None else cache
        self._dim_to_size = {} if dim_to_size is None else dim_to_size

    def _once(self, operation: str, term: Tensor, details: Hashable, compute: Callable[[], Any]) -> Any:
        """The result of an operation on a term, which is computed once."""
        self._cache["tensor", id(term)] = term  # so that no other tensor gets its id
        key = operation, id(term), details
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    @abstractmethod
    def sumproduct(self, terms: Sequence[Tensor], dims: Iterable[str]) -> Tensor:
        """The product of all terms, summed over ``dims``."""

    @abstractmethod
    def product(self, term: Tensor, ordinal: Ordinal) -> Tensor:
        """The product of a term along those of its dims that are plates in ``ordinal``."""

    @abstractmethod
    def inv(self, term: Tensor) -> Tensor:
        """One over a term; finite for a term of zero, so that zero times it is zero."""

    def broadcast(self, term: Tensor, ordinal: Ordinal) -> Tensor:
        """The term, repeated along the plates of ``ordinal`` that it lacks."""
        missing = "".join(sorted(set(ordinal) - set(dims_of(term))))
        if not missing:
            return term
        sizes = tuple(self._dim_to_size[dim] for dim in missing)

        def repeat() -> Tensor:
            return tagged(term.expand(sizes + sizes_of(term)), missing + dims_of(term))

        repeated: Tensor = self._once("broadcast", term, missing, repeat)
        return repeated

    def global_local(self, term: Tensor, dims: AbstractSet[str], ordinal: Ordinal) -> tuple[Tensor, Tensor]:
        """A term as a part for the plates' parent and a part that stays.

        The first is the term summed over ``dims``, multiplied along the plates; the second is the term over its sum, so that
        ``dims``, and with them the plates, can be kept.

        Args:
            dims: dims to be kept, at least one.
        """
        assert dims, "dims was empty, use .product() instead"

        def split() -> tuple[Tensor, Tensor]:
            total = self.sumproduct([term], dims)
            return self.product(total, ordinal), self.sumproduct([term, self.inv(total)], ())

        parts: tuple[Tensor, Tensor] = self._once("global_local", term, (frozenset(dims), ordinal), split)
        return parts


class _EinsumRing(Ring):
    """A ring whose sums of products are those of a backend of :func:`ember.ops.einsum.contract`."""

    _backend: str

    def sumproduct(self, terms: Sequence[Tensor], dims: Iterable[str]) -> Tensor:
        inputs = [dims_of(term) for term in terms]
        output = "".join(sorted(set().union(*inputs) - set(dims)))
        result: Tensor = contract(",".join(inputs) + "->" + output, *terms, backend=self._backend)
        return tagged(result, output)

    def product(self, term: Tensor, ordinal: Ordinal) -> Tensor:
        plates = "".join(dim for dim in dims_of(term) if dim in ordinal)
        if not plates:
            return term

        def multiply() -> Tensor:
            rest = "".join(dim for dim in dims_of(term) if dim not in plates)
            return tagged(self._multiplied(term, [dims_of(term).index(dim) for dim in plates]), rest)

        result: Tensor = self._once("product", term, plates, multiply)
        return result

    @abstractmethod
    def _multiplied(self, term: Tensor, places: list[int]) -> Tensor:
        """The product along those dims."""

    def inv(self, term: Tensor) -> Tensor:
        def invert() -> Tensor:
            inverse = self._inverse(term).clamp(max=torch.finfo(term.dtype).max)
            return tagged(inverse, dims_of(term))

        result: Tensor = self._once("inv", term, None, invert)
        return result

    @abstractmethod
    def _inverse(self, term: Tensor) -> Tensor:
        """One over the term, infinite for zero."""


class LinearRing(_EinsumRing):
    """Sums and products of numbers."""

    _backend = "torch"

    def _multiplied(self, term: Tensor, places: list[int]) -> Tensor:
        for place in sorted(places, reverse=True):
            term = term.prod(place)
        return term

    def _inverse(self, term: Tensor) -> Tensor:
        return term.reciprocal()


class LogRing(_EinsumRing):
    """Sums and products of numbers that are given as logarithms.

    >>> from ember.ops.packed import tagged
    >>> x = tagged(torch.tensor([[0.1, 0.3], [0.4, 0.2]]).log(), "ab")
    >>> LogRing().sumproduct([x], "b").exp()
    tensor([0.4000, 0.6000])
    """

    _backend = "ember.ops.einsum.torch_log"

    def _multiplied(self, term: Tensor, places: list[int]) -> Tensor:
        return term.sum(places)

    def _inverse(self, term: Tensor) -> Tensor:
        return -term


class _SampleProduct(Backward):
    """The way back through a product over plates: what was chosen for all rows goes to every row."""

    def __init__(self, term: Tensor, plates: str) -> None:
        self.term, self.plates = term, plates

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        backward = backward_of(self.term)
        assert backward is not None
        return ((backward, None if message is None else self._repeated(message)),)

    def _repeated(self, message: Tensor) -> Tensor:
        own = dims_of(message)
        missing = "".join(dim for dim in self.plates if dim not in own)
        if not missing:
            return message
        dims = SAMPLE_SYMBOL + missing + own.replace(SAMPLE_SYMBOL, "")
        sizes = [sizes_of(self.term)[dims_of(self.term).index(dim)] for dim in missing]
        view = aligned(message, dims)
        shape = [-1, *sizes, *sizes_of(view)[1 + len(sizes) :]]
        return tagged_sample(view.expand(shape), dims, sample_dims_of(message))


class _BackwardSampleRing(LogRing):
    def product(self, term: Tensor, ordinal: Ordinal) -> Tensor:
        result = super().product(term, ordinal)
        if result is not term and backward_of(term) is not None:
            plates = "".join(sorted(set(dims_of(term)) & ordinal))
            with_backward(result, _SampleProduct(term, plates))
        return result


class MapRing(_BackwardSampleRing):
    """Maxima and sums of logarithms; on the way back, the values of the maximum."""

    _backend = "ember.ops.einsum.torch_map"


def _walk(inputs: Sequence[str], dims: AbstractSet[str]) -> list[int]:
    """The terms in the order in which a walk along ``dims``, from the last of them, finds them; then those without any."""
    holders = {dim: [place for place, letters in enumerate(inputs) if dim in letters] for dim in sorted(dims)}
    found: dict[int | str, None] = {}
    ends: list[int | str] = [max(dims)] if dims else []
    while ends:
        end = ends.pop()
        found.setdefault(end)
        around = [dim for dim in inputs[end] if dim in dims] if isinstance(end, int) else holders[end]
        fresh = [other for other in around if other not in found]
        found.update(dict.fromkeys(fresh))
        ends.extend(fresh)
    first = [place for place in found if isinstance(place, int)]
    return first + [place for place in range(len(inputs)) if place not in found]


class SampleRing(_BackwardSampleRing):
    """Sums and products of logarithms; on the way back, values drawn from the distribution that they define."""

    _backend = "ember.ops.einsum.torch_sample"

    def sumproduct(self, terms: Sequence[Tensor], dims: Iterable[str]) -> Tensor:
        """Few terms in the order in which opt_einsum takes them: it decides which draw comes when, and a seed makes it Pyro's."""
        if len(terms) > _FEW:
            return super().sumproduct(terms, dims)
        summed = set(dims)
        inputs = [dims_of(term) for term in terms]
        order = _walk(inputs, summed)
        output = "".join(sorted(set().union(*inputs) - summed))
        equation = ",".join(inputs[place] for place in order) + "->" + output
        ordered = [terms[place] for place in order]
        result: Tensor = contract(equation, *ordered, backend=self._backend, optimize="auto")
        return tagged(result, output)


class _MarginalProduct(Backward):
    """The way back through a product over plates: what came from above, and all rows but the own one."""

    def __init__(self, ring: Ring, term: Tensor, result: Tensor) -> None:
        self.ring, self.term = ring, term
        self.result = weakref.ref(result)  # the result holds this object

    def process(self, message: Tensor | None) -> Iterable[Sent]:
        term, result, backward = self.term, self.result(), backward_of(self.term)
        assert backward is not None and result is not None
        factors = [result]
        if message is not None:
            factors.append(tagged(message, dims_of(result)))
        if not backward.is_leaf:  # the own row is still to come
            factors.append(self.ring.inv(term))
        total = aligned(self.ring.sumproduct(factors, ()), dims_of(term))
        return ((backward, tagged(total.expand(sizes_of(term)), dims_of(term))),)


class MarginalRing(LogRing):
    """Sums and products of logarithms; on the way back, the factors' marginals."""

    _backend = "ember.ops.einsum.torch_marginal"

    def product(self, term: Tensor, ordinal: Ordinal) -> Tensor:
        result = super().product(term, ordinal)
        if result is not term and backward_of(term) is not None:
            with_backward(result, _MarginalProduct(self, term, result))
        return result


_LOG_RINGS: tuple[type[_EinsumRing], ...] = (LogRing, MapRing, SampleRing, MarginalRing)

# By the backend's name, which may also be the one that it has in Pyro.
BACKEND_TO_RING: dict[str, type[Ring]] = {
    "torch": LinearRing,
    **{ring._backend: ring for ring in _LOG_RINGS},
    **{ring._backend.replace("ember.", "pyro.", 1): ring for ring in _LOG_RINGS},
}
