"""Do model and guide broadcast over particles? One of many is compared with itself among others, and alone.

A program that indexes or sums dims from the left, or multiplies matrices, may mix particles up without an error: its log
densities are numbers of the right shape, and wrong. Two comparisons tell, on the values that were drawn:

- *Among copies.* All other particles are replaced by copies of one. What is computed for that one must stay, up to rounding of
  the same operations on the same shapes: it depends on no other particle.
- *Alone.* The program is run without the plate of particles. Shapes differ, so more rounding is let pass; this finds sums over
  the wrong dim.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember import tree
from ember.capture.recording.value_guard import is_recording
from ember.distributions.delta import Delta
from ember.errors import ModelError
from ember.infer.traces.importance_trace import Sites, Traces, get_importance_trace
from ember.infer.traces.run import Run
from ember.infer.traces.validate_all import unchecked
from ember.poutine.handlers import block, replay
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.rng import fork_torch_rng, same_torch_states, set_torch_states, torch_states

Held = tuple[Trace, Trace]
"""Values of the latent sites of model and guide."""
_SAME_SHAPES = {torch.float64: 1e-10, torch.float32: 1e-5}
_OTHER_SHAPES = {torch.float64: 1e-6}
_LOW_PRECISION = 2e-3
_MOST_KINDS = 256


class _CannotCompareError(Exception):
    """Internal: one particle says nothing about many."""


@dataclass(frozen=True)
class _Term:
    """What one site contributes for one particle."""

    total: float
    """The sum of its finite entries,"""
    size: float
    """of their absolute values,"""
    bad: int
    """and how many are not finite."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    """For all particles."""

    def differs(self, other: _Term, tolerances: dict[torch.dtype, float]) -> bool:
        tolerance = tolerances.get(self.dtype, _LOW_PRECISION) * (1.0 + max(self.size, other.size))
        return self.bad != other.bad or abs(self.total - other.total) > tolerance


Terms = dict[tuple[str, str], _Term]
"""By role and site."""


def check_broadcasting(many: Run, recorded: Traces, plates: tuple[Sites, Sites]) -> bool:
    """Compare the first and the last of many particles with what they are among copies of themselves, and alone.

    That is done once for a pair and the shapes of its arguments. Random numbers that a program draws besides its sites are the
    same in all runs that are compared.

    Args:
        many: model and guide in the plate of particles, with the run of one of them.
        recorded: the traces of such a run, without the hidden sites of plates; only values are read.
        plates: these hidden sites, of the model and of the guide.

    Returns:
        Whether they could be compared: not where the program keeps a state, or normalises over batches.

    Raises:
        ValueError: names the first site that differs, with both numbers and its shape.
    """
    one = many.one
    if one is None or is_recording():
        return True
    known, key = one.facts.broadcasts, _kind_of_call(many, recorded)
    if key not in known:
        if len(known) >= _MOST_KINDS:
            known.clear()
        known[key] = _compare(many, one, recorded, plates)
    return known[key]


def _kind_of_call(many: Run, recorded: Traces) -> Hashable:
    # What fits by chance, as many particles as rows of the data, does not fit for other numbers.
    frames = [frame for trace in recorded for site in trace.samples() for frame in site.cond_indep_stack]
    particles = frozenset(frame.size for frame in frames if frame.dim == -many.max_plate_nesting)
    shapes = tuple(tensor.shape for tensor in tree.tensors((many.args, many.kwargs)))
    return (particles, many.max_plate_nesting, shapes)


def _compare(many: Run, one: Run, recorded: Traces, plates: tuple[Sites, Sites]) -> bool:
    nesting = int(many.max_plate_nesting)

    def held(change: Callable[[int, Site], Tensor]) -> Held:
        return _held(recorded[0], plates[1] | plates[0], nesting, change), _held(
            recorded[1], plates[1], nesting, change
        )

    with fork_torch_rng() as states:
        try:
            drawn = held(lambda nesting, site: site.value)
            for particle in (0, -1):
                among = _terms(many, drawn, states, particle)
                copies = _terms(many, held(_copies_of(particle)), states, particle)
                for place in _differences(among, copies, _SAME_SHAPES):
                    if _terms(many, drawn, states, particle) == among:
                        raise _mixed_up(place, among, copies, "among copies of itself")
                _compare_alone(one, held(_alone(particle)), states, among)
        except _CannotCompareError:
            return False
    return True


def _compare_alone(one: Run, held: Held, states: list[Tensor], among: Terms) -> None:
    try:
        alone = _terms(one, held, states, None)
        if not same_torch_states(states, torch_states()):
            return  # it draws random numbers besides its sites: others than many particles do
        for place in _differences(among, alone, _OTHER_SHAPES):
            if _terms(one, held, states, None) == alone:
                raise _mixed_up(place, among, alone, "alone")
    except _CannotCompareError:
        return  # it works for many only


def _differences(
    found: Terms, expected: Terms, tolerances: dict[torch.dtype, float]
) -> Iterator[tuple[str, str]]:
    for place in [*found, *(place for place in expected if place not in found)]:
        if place not in found or place not in expected or found[place].differs(expected[place], tolerances):
            yield place


def _mixed_up(place: tuple[str, str], among: Terms, other: Terms, where: str) -> ModelError:
    role, name = place
    if place in among and place in other:
        shape = among[place].shape
        what = (
            f"among others one has the log density {among[place].total:.6g}, {where} it has {other[place].total:.6g} "
            f"(log_prob of many has the shape {shape})"
        )
    else:
        what = f"the site is there {'among other particles' if place in among else where} only"
    return ModelError(
        f"at site {name!r}, the {role} does not broadcast over particles: {what}\n"
        "  Try one of the following fixes:\n"
        "  - index, sum and stack from the right: z[..., 0] for z[0], sum(-1) for sum(1)\n"
        "  - keep the dims of plates in products: (x @ w.unsqueeze(-1)).squeeze(-1) for x @ w\n"
        "  - draw particles one by one: vectorize_particles=False"
    )


def _held(recorded: Trace, plates: Sites, nesting: int, change: Callable[[int, Site], Tensor]) -> Trace:
    """The values that latent sites of a run of many are given in another; those that follow from others are left out."""
    held = Trace()
    for name, site in plates.items():
        held.nodes[name] = site
    for site in recorded.samples():
        if site.is_observed or site.enumerate_dim is not None or follows(site):
            continue
        if not isinstance(site.value, Tensor) or not hasattr(site.fn, "event_dim"):
            raise _CannotCompareError
        copied = Site(site)
        copied.value = change(nesting, site).detach()
        held.nodes[site.name] = copied
    return held


def follows(site: Site) -> bool:
    """Whether the value of a site is that of its distribution, which has no other."""
    fn = site.fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, Delta)


def _particle_dim(nesting: int, site: Site) -> int | None:
    """Along which dim particles lie; None where all share one value."""
    dim = int(site.value.dim() - site.fn.event_dim - nesting)
    if dim > 0:
        raise _CannotCompareError
    return None if dim < 0 or site.value.shape[0] == 1 else 0


def _copies_of(particle: int) -> Callable[[int, Site], Tensor]:
    def change(nesting: int, site: Site) -> Tensor:
        value: Tensor = site.value
        if _particle_dim(nesting, site) is None:
            return value
        return value.select(0, particle).unsqueeze(0).expand(value.shape)

    return change


def _alone(particle: int) -> Callable[[int, Site], Tensor]:
    """What one particle has drawn, as it would have without the plate of particles."""

    def change(nesting: int, site: Site) -> Tensor:
        value: Tensor = site.value
        if _particle_dim(nesting, site) is not None:
            value = value.select(0, particle)
        elif value.dim() - site.fn.event_dim == nesting:
            value = value.squeeze(0)
        # Without particles there are no dims left of the plates.
        dims = [-frame.dim for frame in site.cond_indep_stack if frame.dim is not None]
        depth = max((dim for dim in dims if dim != nesting), default=0)
        missing = value.dim() - site.fn.event_dim - depth
        if any(size != 1 for size in value.shape[: max(missing, 0)]):
            raise _CannotCompareError
        return value.reshape(value.shape[max(missing, 0) :])

    return change


def _terms(run: Run, held: Held, states: list[Tensor], particle: int | None) -> Terms:
    """What all sites contribute for one particle; for all there are, if none is given."""
    set_torch_states(states)
    model, guide = (
        replay(program, trace=trace) for program, trace in zip((run.model, run.guide), held, strict=True)
    )
    try:
        with torch.no_grad(), block(), unchecked(), _WithoutBatchStatistics():
            traces = get_importance_trace("flat", run.max_plate_nesting, model, guide, run.args, run.kwargs)
    except Exception as error:
        raise _CannotCompareError from error
    terms: Terms = {}
    for role, trace in zip(("guide", "model"), reversed(traces), strict=True):
        for site in trace.samples():
            if not site.is_deterministic:
                terms[role, site.name] = _term(role, site, int(run.max_plate_nesting), particle)
    return terms


def _term(role: str, site: Site, nesting: int, particle: int | None) -> _Term:
    entries = torch.as_tensor(site.log_prob)
    if follows(site):
        # Whether a value is what it must be is a matter of its last bit; a guide's values are compared instead.
        is_value = role == "guide" and isinstance(site.value, Tensor)
        entries = site.value if is_value else torch.zeros(())
        nesting += site.fn.event_dim if is_value else 0
    shape = tuple(entries.shape)
    if particle is not None and entries.dim() >= nesting:
        dim = entries.dim() - nesting
        entries = entries.select(dim, particle if entries.shape[dim] > 1 else 0)
    finite = entries.isfinite()
    numbers = torch.where(finite, entries, 0.0).detach().double()
    return _Term(float(numbers.sum()), float(numbers.abs().sum()), int((~finite).sum()), entries.dtype, shape)


class _WithoutBatchStatistics(TorchFunctionMode):
    """Ends the run of a model that normalises over a batch, and keeps a state: each particle depends on the others."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.nn.functional.batch_norm, torch.batch_norm):
            raise _CannotCompareError
        return func(*args, **(kwargs or {}))
