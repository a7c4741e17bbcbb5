"""Drawing what was enumerated from its joint posterior, or finding its most probable values.

The factors are contracted as for the evidence, and then the contraction is run backwards, from the variables
that were eliminated last to those eliminated first: forward filtering and backward sampling (temperature 1),
    or the Viterbi algorithm
(temperature 0), on a tree of plates.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from opt_einsum import shared_intermediates
from torch import Tensor

from ember.infer.enumeration.dice import Ordinal
from ember.infer.enumeration.model_factors import ByOrdinal, masked_log_prob
from ember.ops import packed
from ember.ops.contract import contract_tensor_tree
from ember.ops.einsum.adjoint import require_backward
from ember.ops.packed import dims_of, tagged
from ember.ops.rings import MapRing, SampleRing
from ember.ops.tracing import ignore_jit_warnings, jit_iter
from ember.poutine.frames import CondIndepStackFrame
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.poutine.values.replay_messenger import ReplayMessenger

_RINGS: dict[Any, Any] = {0: MapRing, 1: SampleRing}
_PENDING = object()
_EVENT = "\x01"  # no symbol of a plate or site


class SamplePosteriorMessenger(ReplayMessenger):
    """Replays the enumerated sites of a trace, and puts the trace's plates on all sites that it has."""

    def _pyro_sample(self, msg: Site) -> None:
        if msg.enumeration == "parallel":
            super()._pyro_sample(msg)
        assert self.trace is not None
        recorded = self.trace.nodes.get(msg.name)
        if recorded is not None:
            msg.cond_indep_stack = recorded.cond_indep_stack


def replay_posterior_sample(
    model: Callable[..., Any],
    enum_trace: Trace,
    temperature: float,
    strict_enumeration_warning: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The result of a model, run with a posterior sample of the sites that are enumerated in a packed trace
    of it.

    Args:
        model: the program.
        enum_trace: its trace, with packed log densities.
        temperature: 1 for a sample, 0 for the most probable values.
        strict_enumeration_warning: warn if nothing is enumerated.
        args: arguments of the model.
        kwargs: keyword arguments of the model.

    Raises:
        ValueError: if the temperature is neither 0 nor 1.
    """
    if temperature not in _RINGS:
        raise ValueError(f"temperature must be 0 (map) or 1 (sample) for now, got {temperature!r}")
    with SamplePosteriorMessenger(
        trace=_posterior_trace(enum_trace, temperature, strict_enumeration_warning)
    ):
        return model(*args, **kwargs)


class BackwardSampleMessenger(SamplePosteriorMessenger):
    """Draws the enumerated sites of a model from their joint posterior, anew each time that it is entered.

    The values are a joint draw by forward filtering and backward sampling; the ``fn`` of sites stays the
    prior.

    Args:
        enum_trace: the trace of the model, with packed log densities.
        guide_trace: that of the guide that it was run against. Its sites are left to a ``replay``.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     z = ember.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    ...     ember.sample("x", dist.Delta(z), obs=torch.tensor(1.0))
    ...     return z
    >>> with ember.poutine.enum(first_available_dim=-1):
    ...     enumerated = ember.poutine.trace(model).get_trace()
    >>> enumerated.compute_log_prob()
    >>> enumerated.pack_tensors()
    >>> with BackwardSampleMessenger(enumerated, ember.poutine.Trace()):
    ...     model()
    tensor(1.)
    """

    def __init__(self, enum_trace: Trace, guide_trace: Trace) -> None:
        super().__init__(trace=Trace())
        self.enum_trace = enum_trace
        self.guide_trace = guide_trace

    def __enter__(self) -> Any:
        self.trace = _posterior_trace(self.enum_trace, 1, False)
        return super().__enter__()


def _posterior_trace(enum_trace: Trace, temperature: float, strict_enumeration_warning: bool) -> Trace:
    """The latent sites of a packed trace, with values drawn jointly, or the most probable ones."""
    factors, sum_dims, queries = _collect(enum_trace, strict_enumeration_warning)
    return _collapsed(enum_trace, _draw(factors, sum_dims, queries, temperature))


def _wide_plates(trace: Trace, site: Site) -> Ordinal:
    # Packed tensors have no dim for a plate of size 1.
    return frozenset(trace.plate_to_symbol[frame.name] for frame in site.cond_indep_stack if _is_wide(frame))


def _is_wide(frame: CondIndepStackFrame) -> bool:
    # The size may be a tensor where torch.jit traces.
    with ignore_jit_warnings():
        return frame.vectorized and bool(frame.size > 1)


def _collect(trace: Trace, strict: bool) -> tuple[ByOrdinal, set[str], dict[str, Tensor]]:
    """The factors that depend on enumerated sites, the dims of these, and the factors of latent sites by
    name."""
    sites = [(name, site) for name, site in trace.nodes.items() if site.type == "sample"]
    sum_dims: set[str] = set()
    factors: ByOrdinal = OrderedDict()
    queries = {}
    enumerated = False
    for name, site in sites:
        ordinal = _wide_plates(trace, site)
        # Masked, but not scaled: a subsample's posterior is that of the subsample.
        factor = masked_log_prob(site)
        sum_dims |= set(dims_of(factor)) - ordinal
        if sum_dims.isdisjoint(dims_of(factor)):
            continue
        factors.setdefault(ordinal, []).append(factor)
        enumerated = enumerated or site.enumerate_dim is not None
        if not site.is_observed:
            queries[name] = factor
    if strict and not enumerated:
        warnings.warn(
            "infer_discrete found no sample sites configured for enumeration. "
            "If you want to enumerate sites, you need to @config_enumerate or set "
            'infer={"enumerate": "sequential"} or infer={"enumerate": "parallel"}.',
            stacklevel=5,
        )
    return factors, sum_dims, queries


def _draw(
    factors: ByOrdinal, sum_dims: set[str], queries: dict[str, Tensor], temperature: float
) -> dict[str, tuple[Any, Ordinal]]:
    """For each query the indices of the chosen values (or None), and the plates of its connected
    component."""
    sizes = {
        symbol: size
        for terms in factors.values()
        for term in terms
        for symbol, size in zip(dims_of(term), term.shape, strict=True)
    }
    for query in queries.values():
        require_backward(query)
        query._pyro_backward_result = _PENDING  # type: ignore[attr-defined]
    with shared_intermediates() as cache:
        ring = _RINGS[temperature](cache=cache, dim_to_size=sizes)
        contracted = contract_tensor_tree(factors, sum_dims, ring=ring)
        waiting: dict[str, Any] = dict(queries)
        found: dict[str, tuple[Any, Ordinal]] = {}
        for ordinal, terms in contracted.items():
            for term in terms:
                if hasattr(term, "_pyro_backward"):
                    term._pyro_backward()
            for name, query in list(waiting.items()):
                if query._pyro_backward_result is not _PENDING:
                    found[name] = (query._pyro_backward_result, ordinal)
                    del waiting[name]
    for query in queries.values():
        # The trace may be sampled from again.
        del query._pyro_backward, query._pyro_backward_result  # type: ignore[attr-defined]
    return found


def _collapsed(enum_trace: Trace, found: dict[str, tuple[Any, Ordinal]]) -> Trace:
    """The latent sites with the values chosen."""
    collapsed = Trace()
    for name, site in enum_trace.nodes.items():
        if site.type != "sample" or site.is_observed:
            continue
        value, frames = site.value, site.cond_indep_stack
        if name in found:
            indices, ordinal = found[name]
            # Given what it is connected with, the elements of a plate are independent no more.
            frames = tuple(
                frame
                for frame in frames
                if not _is_wide(frame) or enum_trace.plate_to_symbol[frame.name] in ordinal
            )
            if indices is not None:
                value = _chosen(enum_trace, site, indices)
        collapsed.add_node(
            name,
            type="sample",
            name=name,
            is_observed=False,
            infer=dict(site.infer),
            cond_indep_stack=frames,
            value=value,
        )
    return collapsed


def _chosen(trace: Trace, site: Site, indices: Any) -> Tensor:
    """The value of a site where the sites that it depends on have their chosen values."""
    value: Tensor = site.value
    event_shape = value.shape[value.dim() - getattr(site.fn, "event_dim", 0) :]
    # All event dims together are one more dim, the rightmost.
    flat = value.reshape(value.shape[: value.dim() - len(event_shape)] + (event_shape.numel(),))
    to_symbol = {dim - 1: symbol for dim, symbol in (site.dim_to_symbol or {}).items()}
    to_dim = {symbol: dim - 1 for symbol, dim in trace.symbol_to_dim.items()}
    result = packed.pack(flat, {**to_symbol, -1: _EVENT})
    for index, dim in zip(jit_iter(indices), indices._pyro_sample_dims, strict=True):
        if dim in dims_of(result):
            result = packed.gather(result, tagged(index, indices._pyro_dims[1:]), dim)
    result = packed.unpack(result, {**to_dim, _EVENT: -1})
    return result.reshape(result.shape[:-1] + event_shape)
