"""Does a program work with all samples in one run? What is said where it does not, and a look at whether rows are mixed up.

A program that multiplies matrices, or indexes and sums dims from the left, may fail where samples lie along a dim of their own,
or give numbers of the right shape in which samples are mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Size, Tensor

from ember.errors import ModelError
from ember.poutine.handlers import block, mask, trace
from ember.poutine.messenger import Messenger
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace
from ember.rng import fork_torch_rng, same_torch_states, torch_states

Program = Callable[..., Any]
Parameters = dict[str, Tensor]
_TOLERANCE = {torch.float64: 1e-6}
_LOW_PRECISION = 2e-3
_FIXES = (
    "  Try one of the following fixes:\n"
    "  - products: (X * b).sum(-1) for X @ b, so that dims on the left stay\n"
    "  - indices and sums from the right: Vindex(locs)[..., c] for locs[c], z[..., 0] for z[0], sum(-1) for sum(0)\n"
    "  - modules, kernels of Gaussian processes and the like that mix batch dims: parallel=False, one run for each sample"
)


class Settled(Messenger):
    """Gives latent sites values in the shapes that they have in a run of their own, instead of draws.

    Args:
        values: by site; dims of size 1 may stand for plates that are not around the site.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Site) -> None:
        value = self.values.get(msg.name)
        if value is None or msg.is_observed or site_is_subsample(msg):
            return
        shape = getattr(msg.fn, "shape", lambda: value.shape)()
        msg.value = value.reshape(shape) if value.numel() == Size(shape).numel() else value


def cannot_run(name: str | None, detail: object, shapes: Mapping[str, Size]) -> ModelError:
    """What to raise where a program does not work with all samples in one run.

    Args:
        name: the site that it was on the way to.
        detail: what went wrong.
        shapes: those of the values so far.
    """
    place = "at the end of the program" if name is None else f"at site {name!r}"
    known = ", ".join(f"{site!r} {tuple(shape)}" for site, shape in shapes.items())
    return ModelError(
        f"{place}, the program does not work with all samples in one run, parallel=True: {detail}\n"
        f"  The dim of samples is left of the dims of all plates; values so far have the shapes: {known or 'none'}\n{_FIXES}"
    )


def spread(name: str, value: Tensor, full: Size) -> Tensor:
    """A value for all samples, of the shape that samples of a site have.

    Raises:
        ValueError: if it has another shape: samples are mixed up.
    """
    try:
        if value.dim() <= len(full):
            return value.expand(full)
    except RuntimeError:
        pass
    if [size for size in value.shape if size != 1] != [size for size in full if size != 1]:
        raise cannot_run(
            name, f"its value has the shape {tuple(value.shape)}, not {tuple(full)}", {name: value.shape}
        )
    return value.reshape(full)


def check_rows(program: Program, recorded: Trace, nesting: int, args: Any, kwargs: Any) -> None:
    """Compare what the first and the last sample of a run of many are drawn from with what it is alone.

    Nothing is compared where that says nothing: a program that draws random numbers elsewhere than at sample sites, or cannot
    be run for one sample.

    Args:
        program: what was run.
        recorded: its run, without hidden sites.
        nesting: how many dims from the right belong to the program's own plates.
        args: the program's.
        kwargs: the program's.

    Raises:
        ValueError: names the first site that is not drawn from the distribution that it has alone.
    """
    if sum(site.is_sample for site in recorded.nodes.values()) < 2:
        return  # there is nothing that could be mixed
    with fork_torch_rng():
        for row in (0, -1):
            values = _row(recorded, nesting, row)
            alone = _drawn_from(program, values, args, kwargs)
            for name, expected in (alone or {}).items():
                site = recorded.nodes.get(name)
                if site is None or _agree(site, expected, nesting, row):
                    continue
                again = _drawn_from(program, values, args, kwargs)
                if again is not None and _equal(again[name], expected):
                    detail = "one sample of many is drawn from another distribution than it is alone"
                    raise cannot_run(name, detail, _shapes(recorded))


def _agree(site: Site, expected: Parameters, nesting: int, row: int) -> bool:
    """Whether one row of a site's distribution is the distribution that the site has alone."""
    many = len(site.fn.batch_shape) > nesting
    for key, found in _parameters_of(site.fn).items():
        one = (found.select(0, row) if many else found).squeeze()
        own = expected[key].squeeze() if key in expected else one
        tolerance = _TOLERANCE.get(one.dtype, _LOW_PRECISION)
        if one.shape == own.shape and not torch.allclose(one, own, tolerance, tolerance, equal_nan=True):
            return False
    return True


def _parameters_of(fn: Any) -> Parameters:
    """What a distribution is made of, under all that wraps it."""
    while isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        fn = fn.base_dist
    known = getattr(fn, "arg_constraints", {})
    return {key: value for key, value in vars(fn).items() if key in known and isinstance(value, Tensor)}


def _equal(first: Parameters, second: Parameters) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def _shapes(recorded: Trace) -> dict[str, Size]:
    return {site.name: site.value.shape for site in recorded.latents() if isinstance(site.value, Tensor)}


def _row(recorded: Trace, nesting: int, row: int) -> dict[str, Tensor]:
    values = {}
    for site in recorded.latents():
        event_dim = getattr(site.fn, "event_dim", 0)
        if isinstance(site.value, Tensor):
            many = site.value.dim() - event_dim > nesting
            values[site.name] = site.value.select(0, row) if many else site.value
    return values


def _drawn_from(
    program: Program, values: Mapping[str, Tensor], args: Any, kwargs: Any
) -> dict[str, Parameters] | None:
    """What each site is drawn from for one sample alone; None if it cannot be run alone."""
    before = torch_states()
    try:
        settled = mask(Settled(values)(program), mask=False)
        alone = prune_subsample_sites(block(trace(settled).get_trace)(*args, **kwargs))
    except Exception:  # it says nothing then; the run of many has not failed
        return None
    if not same_torch_states(before, torch_states()):
        return None
    return {site.name: _parameters_of(site.fn) for site in alone.nodes.values() if site.is_sample}
