"""Checks of model and guide: do they have the same sites, of the same shapes, inside the right plates?"""

from __future__ import annotations

import math
import warnings
from itertools import zip_longest
from typing import Any

from ember.caller import stacklevel
from ember.errors import ModelError
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace


def check_model_guide_match(
    model_trace: Trace, guide_trace: Trace, max_plate_nesting: float = math.inf
) -> None:
    """Compare the sites of a model's trace with those of a guide's.

    Warns about sites that only one of them has (sites of the guide marked ``infer={"is_auxiliary": True}`` excepted), and about
    plates that only the guide has.

    Raises:
        ValueError: if a site's shape or event dim differs, or a factor in the guide does not say ``has_rsample``.
        NotImplementedError: for a site of the model that is to be enumerated sequentially.
    """
    guide_vars, guide_plates, auxiliary = {}, set(), set()
    for name, site in guide_trace.nodes.items():
        if site.type != "sample":
            continue
        if site_is_subsample(site):
            guide_plates.add(name)
            continue
        guide_vars[name] = site
        if site.is_auxiliary:
            auxiliary.add(name)
            _check_guide_factor(name, site)
    model_vars, model_plates = {}, set()
    for name, site in model_trace.nodes.items():
        if site.type == "sample" and not site.is_observed:
            if site_is_subsample(site):
                model_plates.add(name)
            else:
                model_vars[name] = site
    if model_vars.keys() != guide_vars.keys() or auxiliary:
        _check_names(model_vars, guide_vars, auxiliary)
    for name, site in model_vars.items():
        if name in guide_vars:
            _check_shapes(name, site, guide_vars[name], max_plate_nesting)
    if not guide_plates <= model_plates:
        warnings.warn(
            f"Found plate statements in guide but not model: {guide_plates - model_plates}",
            stacklevel=stacklevel(),
        )


def _check_guide_factor(name: str, site: Site) -> None:
    if type(site.fn).__name__ == "Unit" and "has_rsample" not in site.fn.__dict__:
        raise ModelError(
            f'At guide site pyro.factor("{name}",...), missing specification of has_rsample. '
            "Please either set has_rsample=True if the factor statement arises "
            "from reparametrized sampling or has_rsample=False otherwise."
        )


def _check_names(model_vars: dict[str, Site], guide_vars: dict[str, Site], auxiliary: set[str]) -> None:
    if auxiliary & model_vars.keys():
        warnings.warn(
            f"Found auxiliary vars in the model: {auxiliary & model_vars.keys()}", stacklevel=stacklevel()
        )
    extra = guide_vars.keys() - model_vars.keys() - auxiliary
    if extra:
        observed = ", ".join(sorted(name for name in extra if guide_vars[name].is_observed))
        swapped = (
            f"\nThe guide observes {observed}: have model and guide changed places? SVI(model, guide, ...)"
        )
        warnings.warn(
            "Found non-auxiliary vars in guide but not model, "
            f"consider marking these infer={{'is_auxiliary': True}}:\n{extra}{swapped if observed else ''}",
            stacklevel=stacklevel(),
        )
    missing = {
        name for name, site in model_vars.items() if name not in guide_vars and site.enumerate_dim is None
    }
    for name in missing:
        if model_vars[name].enumeration == "sequential":
            raise NotImplementedError(
                f"At site {name!r}, model-side sequential enumeration is not implemented. "
                "Try parallel enumeration or guide-side enumeration."
            )
    if missing:
        warnings.warn(
            f"Found vars in model but not guide: {missing}\nThey are drawn from their priors at every step, and not fitted: "
            "sample them in the guide, or enumerate them under TraceEnum_ELBO",
            stacklevel=stacklevel(),
        )


def _check_shapes(name: str, model_site: Site, guide_site: Site, max_plate_nesting: float) -> None:
    model_fn, guide_fn = model_site.fn, guide_site.fn
    if not (model_site.args or guide_site.args) and _same_shape(model_fn, guide_fn):
        return
    event_dims = [getattr(fn, "event_dim", None) for fn in (model_fn, guide_fn)]
    if None not in event_dims and event_dims[0] != event_dims[1]:
        raise ModelError(
            f"Model and guide event_dims disagree at site '{name}': {event_dims[0]} vs {event_dims[1]}"
        )
    if not (hasattr(model_fn, "shape") and hasattr(guide_fn, "shape")):
        return
    model_shape = _shape_within(model_site, max_plate_nesting)
    guide_shape = _shape_within(guide_site, max_plate_nesting)
    if model_shape == guide_shape:
        return
    if any(m != g for m, g in zip_longest(reversed(model_shape), reversed(guide_shape), fillvalue=1)):
        raise ModelError(
            f"Model and guide shapes disagree at site '{name}': {model_shape} vs {guide_shape}\n"
            "  If the guide's parameters are those of an earlier fit, call ember.clear_param_store(), or give each fit its own "
            "store, SVI(..., param_store=ParamStoreDict())"
        )


def _same_shape(model_fn: Any, guide_fn: Any) -> bool:
    try:
        return bool(
            model_fn.batch_shape == guide_fn.batch_shape and model_fn.event_shape == guide_fn.event_shape
        )
    except AttributeError:
        return False


def _shape_within(site: Site, max_plate_nesting: float) -> Any:
    """The site's shape without the batch dims left of ``max_plate_nesting``, which may broadcast."""
    shape = site.fn.shape(*site.args, **site.kwargs)
    kept = max_plate_nesting + getattr(site.fn, "event_dim", 0)
    return shape[len(shape) - int(kept) :] if len(shape) > kept else shape


def check_site_shape(site: Site, max_plate_nesting: float) -> None:
    """Check that the log density of a sample site has just the sizes of the plates around it.

    Raises:
        ValueError: if plates collide or are nested too deep, a batch dim has no plate, or an enumeration dim is in use.
    """
    shape = site.log_prob.shape
    frames = site.cond_indep_stack
    if not (shape or frames or site.infer):
        return
    actual = list(shape)
    expected = _plate_sizes(site)
    if len(expected) > max_plate_nesting:
        raise ModelError(
            f'at site "{site.name}", plate stack overflow\n'
            f"  Try increasing max_plate_nesting to at least {len(expected)}"
        )
    if max_plate_nesting < len(actual):
        actual = actual[len(actual) - int(max_plate_nesting) :]
    if actual != expected:
        pairs = zip_longest(reversed(actual), reversed(expected), fillvalue=1)
        if any(wanted not in (-1, size) for size, wanted in pairs):
            raise ModelError(
                f'at site "{site.name}", invalid log_prob shape\n'
                f"  Expected {expected}, actual {actual}\n"
                "  Try one of the following fixes:\n"
                "  - enclose the batched tensor in a with plate(...): context\n"
                "  - .to_event(...) the distribution being sampled\n"
                f"  - .permute() data dimensions{_observed_shape(site)}"
            )
        _warn_of_free_dims(site, actual, expected)
    enum_dim = site.enumerate_dim
    if enum_dim is not None:
        batch_shape = site.fn.batch_shape
        if len(batch_shape) >= -enum_dim and batch_shape[enum_dim] != 1:
            raise ModelError(
                f'Enumeration dim conflict at site "{site.name}"\n  Try increasing pyro.markov history size'
            )


def _observed_shape(site: Site) -> str:
    """A line about an observation whose shape is not its distribution's."""
    found = getattr(site.value, "shape", None)
    wanted: Any = site.fn.shape(*site.args, **site.kwargs) if hasattr(site.fn, "shape") else found
    if not site.is_observed or found is None or found == wanted:
        return ""
    return f"\n  - .reshape() the observation, of shape {list(found)}, to the distribution's, {list(wanted)}"


def _warn_of_free_dims(site: Site, actual: list[int], expected: list[int]) -> None:
    """Rows of a plate that is not the rightmost are counted once for each entry of a dim to the right that no plate has."""
    taken = {frame.dim for frame in site.cond_indep_stack}
    for dim in range(-min(len(actual), len(expected)), 0):
        if dim not in taken and actual[dim] > 1:
            warnings.warn(
                f'at site "{site.name}", dim {dim} of the log_prob, {actual}, has no plate: its {actual[dim]} entries count as '
                "one row each. Leave out dim=... of the plate, if the data has one dim only, or add a plate for that dim",
                stacklevel=stacklevel(),
            )


def _plate_sizes(site: Site) -> list[int]:
    """The size of the plate at each dim, -1 where there is none or its size is free."""
    sizes: list[int | None] = []
    for frame in site.cond_indep_stack:
        dim = frame.dim
        if dim is None:
            continue
        sizes[:0] = [None] * (-dim - len(sizes))
        if sizes[dim] is not None:
            raise ModelError(
                f'at site "{site.name}" within plate("{frame.name}", dim={dim}), dim collision\n'
                "  Try setting dim arg in other plates."
            )
        sizes[dim] = frame.size
    return [-1 if size is None else size for size in sizes]


def check_if_enumerated(guide_trace: Trace) -> None:
    """Warn if sites of the guide ask for enumeration, which this objective does not do."""
    names = [name for name, site in guide_trace.nodes.items() if site.type == "sample" and site.enumeration]
    if names:
        warnings.warn(
            f"Found sample sites configured for enumeration: {', '.join(names)}\n"
            "If you want to enumerate sites, you need to use TraceEnum_ELBO instead.",
            stacklevel=stacklevel(),
        )


def check_traces_match(trace1: Trace, trace2: Trace) -> None:
    """Compare two runs of one program: warns if their sample sites differ.

    Raises:
        ValueError: if the shape of a site differs.
    """
    sites1, sites2 = ({n: s for n, s in t.nodes.items() if s.type == "sample"} for t in (trace1, trace2))
    if sites1.keys() != sites2.keys():
        warnings.warn(f"Model vars changed: {set(sites1)} vs {set(sites2)}", stacklevel=stacklevel())
    for name in sites1.keys() & sites2.keys():
        fns = sites1[name].fn, sites2[name].fn
        if all(hasattr(fn, "shape") for fn in fns):
            shapes = [
                fn.shape(*s[name].args, **s[name].kwargs) for fn, s in zip(fns, (sites1, sites2), strict=True)
            ]
            if shapes[0] != shapes[1]:
                raise ModelError(f"Site dims disagree at site '{name}': {shapes[0]} vs {shapes[1]}")
