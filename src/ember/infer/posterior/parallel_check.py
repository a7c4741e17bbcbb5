"""Does a program work with all samples in one run? What is said where it does not, and a look at whether rows are mixed up.

A program that multiplies matrices, or indexes and sums dims from the left, may fail where samples lie along a dim of their own,
or give numbers of the right shape in which samples are mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor

from ember import tree
from ember.errors import ModelError
from ember.infer.traces.plate_nesting import facts_of
from ember.poutine.handlers import block, mask
from ember.poutine.handlers import trace as poutine_trace
from ember.poutine.messenger import Messenger
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import RETURN, Trace
from ember.rng import fork_torch_rng, same_torch_states, set_torch_states, torch_states

Program = Callable[..., Any]
Parameters = dict[str, Tensor]
Laws = dict[str, Parameters]
"""What sites are drawn from."""
_SAME_SHAPES = {torch.float64: 1e-10, torch.float32: 1e-5}
_OTHER_SHAPES = {torch.float64: 1e-6}
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
        recompute: leave deterministic sites to the program.
    """

    def __init__(self, values: Mapping[str, Tensor], recompute: bool = False) -> None:
        super().__init__()
        self.values = values
        self.recompute = recompute

    def _pyro_sample(self, msg: Site) -> None:
        value = self.values.get(msg.name)
        if value is None or msg.is_observed or site_is_subsample(msg):
            return
        if self.recompute and msg.is_deterministic:
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


@dataclass(frozen=True)
class Rows:
    """A run of many samples."""

    program: Program
    many: Program
    """The program in a plate of all samples."""
    recorded: Trace
    """Of that, without hidden sites."""
    num_samples: int
    nesting: int
    """How many dims from the right belong to the program's own plates."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def check_rows(rows: Rows) -> None:
    """Compare what the first and the last sample of many are drawn from with what it is among copies of the sample, and alone.

    Random numbers that the program draws besides its sites are the same among copies. It is not compared with what it is alone
    where it draws such numbers, or cannot be run for one sample. That is done once for a program and the shapes of its arguments.

    Raises:
        ValueError: names the first site that is not drawn from the same distribution, or the value that is returned.
    """
    nodes = rows.recorded.nodes
    returned = nodes[RETURN].value if RETURN in nodes else None
    if sum(site.is_sample for site in nodes.values()) < 2 and not isinstance(returned, Tensor):
        return  # there is nothing that could be mixed
    known = facts_of(check_rows, rows.program, rows.program).broadcasts
    shapes = [tensor.shape for tensor in tree.tensors((rows.args, rows.kwargs))]
    kind = (rows.num_samples, rows.nesting, *shapes)
    if kind not in known:
        known[kind] = _compare(rows)


def _compare(rows: Rows) -> bool:
    """Whether they could be compared."""
    with fork_torch_rng() as states:
        drawn = _values(rows, lambda value: value)
        for row in (0, -1):
            among = _drawn_from(rows.many, drawn, rows, states)
            if among is None:
                return False
            copies = _drawn_from(rows.many, _values(rows, _copied(row)), rows, states) or {}
            for name in copies:
                if not _same(among, copies, name, rows, row) and _equal(
                    among, _drawn_from(rows.many, drawn, rows, states), name
                ):
                    raise _mixed(
                        name,
                        rows,
                        "one sample of many is drawn from another distribution if the others change",
                    )
            _check_alone(rows, row, among, states)
    return True


def _copied(row: int) -> Callable[[Tensor], Tensor]:
    return lambda value: value.select(0, row).expand(value.shape)


def _check_alone(rows: Rows, row: int, among: Laws, states: list[Tensor]) -> None:
    values = _values(rows, lambda value: value.select(0, row))
    alone = _drawn_from(rows.program, values, rows, states)
    if alone is None or not same_torch_states(states, torch_states()):
        return
    for name in alone:
        if not _alike(among, alone, name, rows, row) and _equal(
            alone, _drawn_from(rows.program, values, rows, states), name
        ):
            raise _mixed(name, rows, "one sample of many is drawn from another distribution than it is alone")


def _mixed(name: str, rows: Rows, detail: str) -> ModelError:
    return cannot_run(None if name == RETURN else name, detail, _shapes(rows.recorded))


def _same(among: Laws, copies: Laws, name: str, rows: Rows, row: int) -> bool:
    """Whether a sample's law stays if others change. What has no dim of samples is the same for all of them."""
    if name not in among or among[name].keys() != copies[name].keys():
        return False
    for key, found in among[name].items():
        other = copies[name][key]
        if found.shape != other.shape:
            return False
        if found.dim() and found.shape[0] == rows.num_samples:
            found, other = found[row], other[row]
        if not _close(found, other, _SAME_SHAPES):
            return False
    return True


def _alike(among: Laws, alone: Laws, name: str, rows: Rows, row: int) -> bool:
    """Whether one row of what a site is drawn from is what it is drawn from alone."""
    site = rows.recorded.nodes[name] if name in rows.recorded.nodes and name != RETURN else None
    many = site is None or site.is_deterministic or len(site.fn.batch_shape) > rows.nesting
    for key, found in among.get(name, {}).items():
        one = (found[row] if many and found.dim() else found).squeeze()
        own = alone[name][key].squeeze() if key in alone[name] else one
        if one.shape == own.shape and not _close(one, own, _OTHER_SHAPES):
            return False
    return True


def _close(one: Tensor, other: Tensor, tolerances: dict[torch.dtype, float]) -> bool:
    tolerance = tolerances.get(one.dtype, _LOW_PRECISION)
    return one.dtype == other.dtype and torch.allclose(one, other, tolerance, tolerance, equal_nan=True)


def _parameters_of(fn: Any) -> Parameters:
    """What a distribution is made of, under all that wraps it."""
    while isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        fn = fn.base_dist
    known = getattr(fn, "arg_constraints", {})
    return {key: value for key, value in vars(fn).items() if key in known and isinstance(value, Tensor)}


def _law(site: Site) -> Parameters:
    # All dims of what is deterministic may count as an event: those of samples too.
    return {"value": site.value} if site.is_deterministic else _parameters_of(site.fn)


def _equal(first: Laws, second: Laws | None, name: str) -> bool:
    if second is None or name not in first or name not in second:
        return second is not None and name not in first and name not in second
    return first[name].keys() == second[name].keys() and all(
        torch.equal(first[name][key], second[name][key]) for key in first[name]
    )


def _shapes(recorded: Trace) -> dict[str, Size]:
    return {site.name: site.value.shape for site in recorded.latents() if isinstance(site.value, Tensor)}


def _values(rows: Rows, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The values of all samples, changed where they have a dim of samples."""
    values = {}
    for site in rows.recorded.samples():
        if not isinstance(site.value, Tensor):
            continue
        many = site.value.dim() - getattr(site.fn, "event_dim", 0) > rows.nesting
        values[site.name] = change(site.value) if many and site.value.shape[0] > 1 else site.value
    return values


def _drawn_from(
    program: Program, values: Mapping[str, Tensor], rows: Rows, states: list[Tensor]
) -> Laws | None:
    """What each site is drawn from on such values, and what is returned; None if that cannot be said."""
    set_torch_states(states)
    try:
        settled = mask(Settled(values)(program), mask=False)
        trace = prune_subsample_sites(block(poutine_trace(settled).get_trace)(*rows.args, **rows.kwargs))
    except Exception:  # it says nothing then; the run of many has not failed
        return None
    laws = {site.name: _law(site) for site in trace.nodes.values() if site.is_sample}
    returned = trace.nodes[RETURN].value if RETURN in trace.nodes else None
    return {**laws, RETURN: {"value": returned}} if isinstance(returned, Tensor) else laws
