"""Checks of models and guides that are enumerated."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def _sample_sites(*traces: Trace) -> Iterator[tuple[str, Site]]:
    for trace in traces:
        for name, site in trace.nodes.items():
            if site.type == "sample":
                yield name, site


def _iterations(site: Site) -> dict[str, int]:
    """The iteration of each sequential plate around a site."""
    return {frame.name: frame.counter for frame in site.cond_indep_stack if not frame.vectorized}


def _are_independent(iterations: dict[str, int], others: dict[str, int]) -> bool:
    """Whether two sites are in different iterations of one sequential plate."""
    return any(others.get(name, counter) != counter for name, counter in iterations.items())


def check_traceenum_requirements(model_trace: Trace, guide_trace: Trace) -> None:
    """Warn about sites outside of a plate that come after sites inside of it that the guide enumerates.

    The elements of a plate are enumerated in lock step. That is right unless something outside of the plate depends on an
    enumerated value inside of it, which putting it first makes sure.
    """
    enumerated = {name for name, site in _sample_sites(guide_trace) if site.enumeration}
    for role, trace in (("model", model_trace), ("guide", guide_trace)):
        if enumerated:
            _check_order(role, trace, enumerated)


def _check_order(role: str, trace: Trace, enumerated: set[str]) -> None:
    earlier: dict[frozenset[CondIndepStackFrame], list[str]] = {}
    iterations = {}
    for name, site in _sample_sites(trace):
        iterations[name] = _iterations(site)
        plates = frozenset(frame for frame in site.cond_indep_stack if frame.vectorized)
        for inside, names in earlier.items():
            if not plates < inside:
                continue
            suspects = sorted(n for n in names if not _are_independent(iterations[name], iterations[n]))
            if suspects:
                _warn_of_order(role, name, suspects, inside - plates)
        if name in enumerated:
            earlier.setdefault(plates, []).append(name)


def _warn_of_order(role: str, name: str, suspects: list[str], plates: Iterable[CondIndepStackFrame]) -> None:
    precede = '", "'.join(suspects)
    broken = '", "'.join(sorted(frame.name for frame in plates))
    warnings.warn(
        f'at {role} site "{name}", possibly invalid dependency.\n'
        f'  Expected site "{name}" to precede sites "{precede}"\n'
        f'  to avoid breaking independence of plates "{broken}"',
        RuntimeWarning,
        stacklevel=5,
    )


def warn_if_nothing_enumerated(prefix: str, *traces: Trace) -> None:
    """Warn if no site is marked for enumeration."""
    if not any(site.enumeration for _, site in _sample_sites(*traces)):
        warnings.warn(
            f"{prefix}ound no sample sites configured for enumeration. "
            "If you want to enumerate sites, you need to @config_enumerate or set "
            'infer={"enumerate": "sequential"} or infer={"enumerate": "parallel"}? '
            "If you do not want to enumerate, consider using Trace_ELBO instead.",
            stacklevel=4,
        )


def _times_sampled(site: Site) -> Any:
    return site.num_samples if site.enumeration == "parallel" else None


def check_tmc_elbo_constraint(model_trace: Trace, guide_trace: Trace) -> None:
    """Warn about parallel sampling that TraceEnum_ELBO does not estimate rightly."""
    counts = {_times_sampled(site) for _, site in _sample_sites(guide_trace)} - {None}
    if len(counts) > 1:
        warnings.warn(
            "Using different numbers of Monte Carlo samples for different guide sites in TraceEnum_ELBO.\n"
            f"This may be biased if the guide is not factorized (found {sorted(counts)})",
            UserWarning,
            stacklevel=3,
        )
    for name, site in _sample_sites(model_trace):
        if _times_sampled(site) and name not in guide_trace:
            warnings.warn(
                f"Site {site.name} is multiply sampled in model,\n"
                "expect incorrect gradient estimates from TraceEnum_ELBO.\n"
                "Consider using exact enumeration or guide sampling if possible.",
                RuntimeWarning,
                stacklevel=3,
            )
