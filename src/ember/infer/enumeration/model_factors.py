"""The log densities of a model, sorted into those that enumeration in the model has to sum over and the others."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ember.errors import ModelError
from ember.infer.enumeration.dice import Ordinal
from ember.infer.traces.validation import is_validation_enabled
from ember.ops import packed
from ember.ops.packed import dims_of
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace

ByOrdinal = OrderedDict[Ordinal, list[Tensor]]


class ModelFactors(NamedTuple):
    """What a model's log densities are, each by ordinal."""

    costs: ByOrdinal
    """Those that depend on no site enumerated in the model; scaled and masked."""
    factors: ByOrdinal
    """Those that do. They are masked but not scaled: the scale belongs outside of the sum over values."""
    ordering: dict[str, Ordinal]
    """The plates of each site of model and guide."""
    sum_dims: set[str]
    """The dims of sites enumerated in the model."""
    scale: Any
    """The scale that all of the factors have."""


def find_ordinal(trace: Trace, site: Site) -> Ordinal:
    """The symbols of the vectorised plates around a site."""
    return frozenset(trace.plate_to_symbol[frame.name] for frame in site.cond_indep_stack if frame.vectorized)


def masked_log_prob(site: Site) -> Tensor:
    """The packed log density of a site, masked but not scaled; memoised."""
    here = site.packed
    if "masked_log_prob" not in here:
        here.masked_log_prob = packed.scale_and_mask(here.unscaled_log_prob, mask=here.mask)
    return here.masked_log_prob


def model_factors(model_trace: Trace, guide_trace: Trace) -> ModelFactors:
    """Sort the log densities of a model that was run against a guide; both traces are packed.

    Raises:
        ValueError: if sites that are enumerated together differ in their scale, or a guide enumerates sites in plates that
            sites enumerated in the model are not in.
    """
    ordering = {
        name: find_ordinal(trace, site)
        for trace in (model_trace, guide_trace)
        for name, site in trace.nodes.items()
        if site.type == "sample"
    }
    sites = {name: site for name, site in model_trace.nodes.items() if site.type == "sample"}
    enumerated = {
        name: site
        for name, site in sites.items()
        if name not in guide_trace.nodes and site.enumerate_dim is not None
    }
    costs: ByOrdinal = OrderedDict()
    factors: ByOrdinal = OrderedDict()
    if not enumerated:
        for name, site in sites.items():
            costs.setdefault(ordering[name], []).append(site.packed.log_prob)
        return ModelFactors(costs, factors, ordering, set(), 1.0)
    _check_upstream(guide_trace, frozenset.intersection(*(ordering[name] for name in enumerated)))
    # What a guide's log density depends on is no matter of the model's.
    outer = set().union(*ordering.values(), *(_dims(guide_trace.nodes.get(name)) for name in sites))
    sum_dims = set().union(*map(_dims, enumerated.values())) - outer
    scales = [(name, site.scale) for name, site in enumerated.items()]
    for name, site in sites.items():
        if name in enumerated:
            continue
        if sum_dims.isdisjoint(_dims(site)):
            costs.setdefault(ordering[name], []).append(site.packed.log_prob)
        else:
            factors.setdefault(ordering[name], []).append(masked_log_prob(site))
            scales.append((name, site.scale))
    for name, site in enumerated.items():
        # Not masked: the probabilities of a masked site must sum to one still.
        factors.setdefault(ordering[name], []).append(site.packed.unscaled_log_prob)
    return ModelFactors(costs, factors, ordering, sum_dims, _common_scale(scales))


def _dims(site: Site | None) -> Iterable[str]:
    return "" if site is None else dims_of(site.packed.log_prob)


def _check_upstream(guide_trace: Trace, common: Ordinal) -> None:
    for name, site in guide_trace.nodes.items():
        if site.type != "sample" or site.enumerate_dim is None:
            continue
        for frame in site.cond_indep_stack:
            if frame.vectorized and guide_trace.plate_to_symbol[frame.name] not in common:
                raise ModelError(
                    "Expected model enumeration to be no more global than guide enumeration, but found model "
                    f"enumeration sites upstream of guide site '{name}' in plate('{frame.name}'). "
                    "Try converting some model enumeration sites to guide enumeration sites."
                )


def _common_scale(scales: Sequence[tuple[str, Any]]) -> Any:
    """The scale that all sites have.

    Raises:
        ValueError: if there are several, or it is no scalar.
    """
    for name, scale in scales:
        if isinstance(scale, Tensor) and scale.dim():
            raise ModelError(
                f"enumeration only supports scalar poutine.scale, but that of site {name!r} has shape "
                f"{tuple(scale.shape)}"
            )
    different = {
        id(scale) if isinstance(scale, Tensor) else float(scale): (name, scale) for name, scale in scales
    }
    # Tensors are compared by value in checked runs only, since a recorded program cannot look at them.
    if len(different) > 1 and (
        is_validation_enabled() or not any(isinstance(scale, Tensor) for _, scale in different.values())
    ):
        different = {float(scale): (name, scale) for name, scale in different.values()}
        if len(different) > 1:
            found = ", ".join(f"{value:g} at {name!r}" for value, (name, _) in different.items())
            raise ModelError(
                "Expected all enumerated sample sites to share a common poutine.scale, "
                f"but found {len(different)} different scales. They are {found}; sites that are enumerated together need "
                "to be in the same subsampled plates."
            )
    return scales[0][1] if scales else math.nan
