"""k-hat of each row of a plate: how well a guide approximates each of many local latents, given the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.infer.traces.broadcasting import follows
from ember.infer.traces.importance_trace import Sites, Traces, get_importance_trace
from ember.ops.psis import k_hats
from ember.poutine.frames import CondIndepStackFrame
from ember.poutine.handlers import block, replay
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.rng import fork_torch_rng

Program = Callable[..., Any]
_ROUNDING = {torch.float64: 1e-9}
_LOW_PRECISION = 1e-4


@dataclass(frozen=True)
class PlateTails:
    """Holds k-hat of the rows of a plate: what :func:`psis_by_plate` returns."""

    k: Tensor
    """k-hat of each row, shape ``(rows,)``."""
    rows: Tensor
    """Which rows of the plate: all, or those of a subsample."""
    sites: tuple[str, ...]
    """The guide's latent sites in the plate."""


@torch.no_grad()
def psis_by_plate(
    model: Program, guide: Program, *args: object, plate: str, num_particles: int = 1000, **kwargs: Any
) -> PlateTails:
    """Compute k-hat of each row of a plate whose latents are independent given all others.

    See Vehtari et al. (2024) and Yao et al. (2018).

    One k-hat of all latents grows with their number, even where each is approximated well. Here all latents
    outside the plate are held at one draw of the guide, and those in it are drawn again and again: the weight
    of a row is the ratio of its own factors, ``p(x_i, z_i | globals) / q(z_i | globals)``. Nothing is said
    about the latents outside: ask :func:`psis_diagnostic` for that, or repeat this with other draws of them.

    Args:
        model: the program whose posterior is sought.
        guide: its approximation; it draws the latents of the plate in the plate.
        args: of both.
        plate: the name of a vectorised plate. Of a subsampled one, the rows of one subsample are judged.
        num_particles: how many draws, taken one by one: the model need not broadcast.
        kwargs: of both.

    Raises:
        ValueError: where the structure does not allow it: no such plate, no latents in it, a guide that draws
            them together with others, or a site that depends on several rows. It names the site.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer import psis_by_plate
    >>> data = torch.tensor([0.0, 1.0, 2.0])
    >>> def model():
    ...     with ember.plate("rows", 3):
    ...         z = ember.sample("z", dist.Normal(0.0, 1.0))
    ...         ember.sample("x", dist.Normal(z, 1.0), obs=data)
    >>> def guide():
    ...     scale = torch.tensor([1.0, 1.0, 0.2])  # the last is too narrow
    ...     with ember.plate("rows", 3):
    ...         ember.sample("z", dist.Normal(data / 2, scale))
    >>> _ = torch.manual_seed(0)
    >>> (psis_by_plate(model, guide, plate="rows").k > 0.5).tolist()
    [False, False, True]
    """
    local = _Local(model, guide, args, kwargs, plate)
    local.check_independence()
    log_weights = torch.stack([local.log_weights(local.draw()) for _ in range(num_particles)], -1)
    k = torch.where(log_weights.isnan().any(-1), math.inf, k_hats(log_weights.mT))
    return PlateTails(k, local.rows, local.sites)


class _Local:
    """The rows of a plate, with all other latents held."""

    def __init__(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any], plate: str
    ) -> None:
        self._programs = model, guide
        self._arguments = args, kwargs
        self._plate = plate
        self._held: tuple[Trace, Trace] = (Trace(), Trace())
        plates: tuple[Sites, Sites] = ({}, {})
        self._first = self._run(plates)
        found = [site for site in self._first[1].samples() if self._frame(site) is not None]
        frames = {self._frame(site) for trace in self._first for site in trace.samples()} - {None}
        if not frames:
            raise ModelError(f"psis_by_plate: there is no vectorised plate {plate!r} around any site")
        self.sites = tuple(site.name for site in found if site.is_latent and not site.is_auxiliary)
        if not self.sites:
            raise ModelError(
                f"psis_by_plate: the guide has no latent site in plate {plate!r}; ask psis_diagnostic instead"
            )
        hidden = plates[0] | plates[1]
        size = next(iter(frames)).size  # type: ignore[union-attr]
        self.rows = hidden[plate].value if plate in hidden else torch.arange(size)
        self._held = self._globals(self._first[0], hidden), self._globals(self._first[1], plates[1])

    def draw(self) -> Traces:
        """The local latents anew."""
        return self._run(({}, {}))

    def log_weights(self, traces: Traces) -> Tensor:
        """Of each row, shape ``(rows,)``."""
        total = torch.zeros(len(self.rows))
        for sign, trace in zip((1.0, -1.0), traces, strict=True):
            for site in trace.samples():
                if self._frame(site) is not None:
                    total = total + sign * self._by_row(site)
        return total

    def check_independence(self) -> None:
        """See on other draws of some rows whether anything but these rows changes.

        Raises:
            ValueError: names the site that does.
        """
        with fork_torch_rng():
            before, after = self.draw(), self.draw()
            self._check_drawn(before[1], after[1])
            number = torch.arange(len(self.rows))
            for changed in (number >= 0, number % 2 == 0, number < (len(number) + 1) // 2):
                mixed = self._run(({}, {}), self._mixed(before, after, changed))
                self._compare(before, mixed, changed)

    def _run(self, plates: tuple[Sites, Sites], held: tuple[Trace, Trace] | None = None) -> Traces:
        model, guide = (
            replay(program, trace=trace)
            for program, trace in zip(self._programs, self._held if held is None else held, strict=True)
        )
        args, kwargs = self._arguments
        with block():
            return get_importance_trace("flat", math.inf, model, guide, args, kwargs, plates=plates)

    def _frame(self, site: Site) -> CondIndepStackFrame | None:
        return next((f for f in site.cond_indep_stack if f.name == self._plate and f.dim is not None), None)

    def _globals(self, trace: Trace, hidden: Sites) -> Trace:
        held = Trace()
        for site in (*hidden.values(), *trace.samples()):
            if not site.is_observed and (self._frame(site) is None or site.is_subsample):
                held.nodes[site.name] = site
        return held

    def _by_row(self, site: Site) -> Tensor:
        """The log density of each row, without the scale of a subsample."""
        frame = self._frame(site)
        assert frame is not None and frame.dim is not None
        term = torch.as_tensor(site.log_prob)
        if term.dim() < -frame.dim:
            return (term.sum() / frame.size).expand(frame.size)
        rows = term.movedim(frame.dim, 0).flatten(1).sum(-1) if term.dim() > 1 else term
        return rows.expand(frame.size) * (frame.size / (frame.full_size or frame.size))

    def _check_drawn(self, before: Trace, after: Trace) -> None:
        for name in self.sites:
            if torch.equal(before.nodes[name].value, after.nodes[name].value):
                raise ModelError(
                    f"at site {name!r}, psis_by_plate cannot judge the rows of plate {self._plate!r} one by one: the guide "
                    "draws it together with others, outside of the plate\n"
                    "  The way out: a guide that draws it in the plate, such as AutoNormal; or psis_diagnostic, for all "
                    "latents at once"
                )

    def _mixed(self, before: Traces, after: Traces, changed: Tensor) -> tuple[Trace, Trace]:
        """What is held in a run in which some rows are drawn anew, and the others are as before."""
        held = []
        for known, old, new in zip(self._held, before, after, strict=True):
            trace = Trace()
            trace.nodes.update(known.nodes)
            for site in old.samples():
                frame = self._frame(site)
                if frame is None or site.is_observed or follows(site) or site.name not in new.nodes:
                    continue
                copied = Site(site)
                copied.value = self._joined(site, new.nodes[site.name], frame, changed)
                trace.nodes[site.name] = copied
            held.append(trace)
        return held[0], held[1]

    def _joined(self, old: Site, new: Site, frame: CondIndepStackFrame, changed: Tensor) -> Tensor:
        assert frame.dim is not None
        dim = old.value.dim() - old.fn.event_dim + frame.dim
        shape = [1] * old.value.dim()
        shape[dim] = len(changed)
        return torch.where(changed.reshape(shape).to(old.value.device), new.value, old.value)

    def _compare(self, before: Traces, mixed: Traces, changed: Tensor) -> None:
        for old_trace, new_trace in zip(before, mixed, strict=True):
            for site in old_trace.samples():
                new = new_trace.nodes.get(site.name)
                if new is None or site.is_deterministic:
                    continue
                if self._frame(site) is None:
                    found, expected = (torch.as_tensor(s.log_prob).sum() for s in (new, site))
                else:
                    found, expected = (self._by_row(s)[~changed] for s in (new, site))
                if not _same(found, expected, site.log_prob.dtype):
                    where = "outside of" if self._frame(site) is None else "in other rows of"
                    raise ModelError(
                        f"at site {site.name!r}, psis_by_plate cannot judge the rows of plate {self._plate!r} one by one: "
                        f"the log density of this site, {where} the plate, changes with them\n"
                        "  The way out: psis_diagnostic, for all latents at once"
                    )


def _same(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    tolerance = _ROUNDING.get(dtype, _LOW_PRECISION)
    scale = 1.0 + float(expected.abs().nan_to_num().sum())
    return torch.allclose(found, expected, 0.0, tolerance * scale, equal_nan=True)
