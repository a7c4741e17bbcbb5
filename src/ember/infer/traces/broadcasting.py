"""Does a model broadcast over particles? One run of many is compared with runs of one, when a pair is first used.

A model that indexes or sums dims from the left, or multiplies matrices, may mix particles up without an error: its log densities
are numbers of the right shape, and wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember.capture.recording.value_guard import is_recording
from ember.errors import ModelError
from ember.infer.traces.importance_trace import Sites
from ember.infer.traces.plates import PARTICLE_PLATE
from ember.infer.traces.run import Run
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.handlers import block, replay, trace
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.rng import set_torch_states, torch_states

_TOLERANCE = {torch.float64: 1e-6}
_LOW_PRECISION = 2e-3


class _CannotCompareError(Exception):
    """Internal: one particle alone says nothing about many."""


def check_broadcasting(one: Run, max_plate_nesting: float, model_trace: Trace, plates: Sites) -> None:
    """Compare the first and the last of many particles with what they are alone; once for a pair, under validation.

    Nothing is compared where that says nothing: without observations, or if the model draws random numbers elsewhere than at
    sample sites, keeps a state, or cannot be run for one particle.

    Args:
        one: the model, and its arguments, without the plate of particles.
        max_plate_nesting: with that plate.
        model_trace: of many particles, with log densities.
        plates: the hidden sites of plates.

    Raises:
        ValueError: names the first site whose log density differs.
    """
    if one.facts.broadcasts or not is_validation_enabled() or is_recording():
        return
    sites = {name: site for name, site in model_trace.nodes.items() if site.type == "sample"}
    if any(site.is_observed and not site.is_deterministic for site in sites.values()):
        nesting = int(max_plate_nesting)
        states = torch_states()
        try:
            for particle in (0, -1):
                _compare(one, nesting, sites, plates, particle)
        except _CannotCompareError:
            pass
        finally:
            set_torch_states(states)
    one.facts.broadcasts = True


def _compare(one: Run, nesting: int, sites: Mapping[str, Site], plates: Sites, particle: int) -> None:
    held = _held(nesting, sites, plates, particle)
    alone = _log_probs(one, held)
    for name, site in sites.items():
        if name not in alone or not _is_in_particle_plate(site):
            continue
        among: Tensor = site.log_prob.detach()
        expected = alone[name].sum()
        if among.dim() == nesting:
            among = among.select(0, particle)
        found = among.sum()
        tolerance = _TOLERANCE.get(found.dtype, _LOW_PRECISION) * (1.0 + float(alone[name].abs().sum()))
        agrees = float((found - expected).abs()) <= tolerance or not torch.isfinite(found + expected)
        if not agrees and torch.equal(_log_probs(one, held)[name], alone[name]):
            raise ModelError(
                f"at site {name!r}, the model does not broadcast over particles: among them one has the log density "
                f"{float(found):.6g}, alone it has {float(expected):.6g} (log_prob of many has the shape "
                f"{tuple(site.log_prob.shape)})\n"
                "  Try one of the following fixes:\n"
                "  - index, sum and stack from the right: z[..., 0] for z[0], sum(-1) for sum(1)\n"
                "  - keep the dims of plates in products: (x @ w.unsqueeze(-1)).squeeze(-1) for x @ w\n"
                "  - draw particles one by one: vectorize_particles=False"
            )


def _is_in_particle_plate(site: Site) -> bool:
    return any(frame.name == PARTICLE_PLATE for frame in site.cond_indep_stack)


def _held(nesting: int, sites: Mapping[str, Site], plates: Sites, particle: int) -> Trace:
    """What one particle has drawn, as it would have without the plate of particles."""
    held = Trace()
    for name, site in (*plates.items(), *sites.items()):
        copied = Site(site)
        if name in sites and not site.is_observed:
            copied.value = _value_of_one(nesting, site, particle)
        if not copied.is_observed:
            held.nodes[name] = copied
    return held


def _value_of_one(nesting: int, site: Site, particle: int) -> Tensor:
    value, event_dim = site.value, getattr(site.fn, "event_dim", None)
    if event_dim is None or not isinstance(value, Tensor) or value.dim() - event_dim != nesting:
        raise _CannotCompareError
    value = value.detach().select(0, particle)
    # Without particles there are no dims left of the plates.
    depth = max(
        (
            -frame.dim
            for frame in site.cond_indep_stack
            if frame.dim is not None and frame.name != PARTICLE_PLATE
        ),
        default=0,
    )
    missing = nesting - 1 - depth
    if any(size != 1 for size in value.shape[:missing]):
        raise _CannotCompareError
    return value.reshape(value.shape[missing:])


def _log_probs(one: Run, held: Trace) -> dict[str, Tensor]:
    """The log densities of one particle."""
    before = torch_states()
    try:
        with torch.no_grad(), block(), _WithoutBatchStatistics():
            alone = trace(replay(one.model, trace=held)).get_trace(*one.args, **one.kwargs)
            alone = prune_subsample_sites(alone)
            alone.compute_log_prob()
    except Exception as error:
        raise _CannotCompareError from error
    if not all(map(torch.equal, before, torch_states())):
        raise _CannotCompareError
    return {name: site.log_prob for name, site in alone.nodes.items() if site.type == "sample"}


class _WithoutBatchStatistics(TorchFunctionMode):
    """Ends the run of a model that normalises over a batch, and keeps a state: one particle alone is another batch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.nn.functional.batch_norm, torch.batch_norm):
            raise _CannotCompareError
        return func(*args, **(kwargs or {}))
