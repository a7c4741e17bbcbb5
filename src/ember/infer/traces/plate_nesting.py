"""How deep the plates of a (model, guide) pair are nested: found by one run, remembered by pair and objective."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from ember.infer.traces.checks import check_site_shape
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.handlers import block, replay, trace
from ember.poutine.messenger import unwrap
from ember.poutine.prune import prune_subsample_sites
from ember.rng import fork_rng

Program = Callable[..., Any]
logger = logging.getLogger(__name__)

_ByProgram = weakref.WeakKeyDictionary[Any, Any]
_KNOWN: weakref.WeakKeyDictionary[Any, _ByProgram] = weakref.WeakKeyDictionary()


@dataclass
class PairFacts:
    """What one user of a (model, guide) pair has found out about it."""

    nesting: int | None = None
    """How deep plates are nested, without that of particles."""
    broadcasts: dict[Hashable, bool] = field(default_factory=dict)
    """By the shapes of a call: whether the pair could be compared, and has been seen to broadcast over particles."""


def facts_of(user: Any, model: Program, guide: Program) -> PairFacts:
    """What a user of the pair, an objective say, knows about it.

    A new objective finds out anew, so that two fits from one seed draw the same numbers.
    """
    known: dict[tuple[Any, Any], PairFacts]
    try:
        by_model = _KNOWN.setdefault(user, weakref.WeakKeyDictionary())
        known = by_model.setdefault(_anchor(model), weakref.WeakKeyDictionary()).setdefault(
            _anchor(guide), {}
        )
    except TypeError:
        # A callable that cannot be referenced weakly, or not be hashed, is asked each time.
        return PairFacts()
    key = (getattr(model, "__func__", None), getattr(guide, "__func__", None))
    return known.setdefault(key, PairFacts())


def max_plate_nesting_of(
    user: Any, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int:
    """The nesting of the pair as this user knows it, else that of a run with these arguments."""
    facts = facts_of(user, model, guide)
    if facts.nesting is None:
        facts.nesting = guess_max_plate_nesting(model, guide, args, kwargs)
    return facts.nesting


def _anchor(fn: Program) -> Any:
    # A bound method is a new object at every access; its instance is not.
    return getattr(fn, "__self__", fn)


def guess_max_plate_nesting(
    model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int:
    """Run guide and model once, hidden from handlers outside, and count. The structure is taken to be static.

    Raises:
        ValueError: if a shape does not fit its plates (under validation).
    """
    resumes = getattr(unwrap(guide), "resumes", None)
    # A fit that goes on in a new process has counted before: its random numbers are left alone.
    with block(), fork_rng() if resumes is not None and resumes() else nullcontext():
        guide_trace = trace(guide).get_trace(*args, **kwargs)
        model_trace = trace(replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    traces = [prune_subsample_sites(recorded) for recorded in (model_trace, guide_trace)]
    sites = [site for recorded in traces for site in recorded.nodes.values() if site.type == "sample"]
    if is_validation_enabled():
        # Only here are all batch dims known to be plates; later some to the left may be particles.
        for recorded in traces:
            recorded.compute_log_prob()
        for site in sites:
            check_site_shape(site, math.inf)
    dims = [frame.dim for site in sites for frame in site.cond_indep_stack]
    nesting = -min((dim for dim in dims if dim is not None), default=0)
    logger.info("Guessed max_plate_nesting = %s", nesting)
    return nesting
