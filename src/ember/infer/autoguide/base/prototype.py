"""The prototype: one run of the model, from which a guide learns the sites, their shapes and their plates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ember.errors import ModelError
from ember.infer.autoguide.base.given_rows import GivenRows, innermost
from ember.infer.autoguide.base.support import transform_of
from ember.ops.tensor_utils import periodic_repeat
from ember.poutine.handlers import block, trace
from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]


def prototype_hide_fn(msg: Any) -> bool:
    """Whether a site is of no interest to a guide: all but latent sample sites."""
    return bool(msg.type != "sample" or msg.is_observed or site_is_subsample(msg))


def record(
    model: Program, hide_fn: Callable[[Any], bool], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Trace, frozenset[str]]:
    """Run the model, hidden from all handlers: the trace of its latent sites, and the plates that were given their rows."""
    given = GivenRows()
    recorded: Trace = block(trace(block(innermost(model, given), hide_fn=hide_fn)).get_trace)(*args, **kwargs)
    return recorded, frozenset(given.rows)


def vectorized_frames(recorded: Trace, guide: str) -> dict[str, CondIndepStackFrame]:
    """The plates around the latent sites, by name.

    Raises:
        NotImplementedError: for sequential plates.
    """
    frames: dict[str, CondIndepStackFrame] = {}
    for name, site in recorded.iter_stochastic_nodes():
        for frame in site.cond_indep_stack:
            if not frame.vectorized:
                raise NotImplementedError(
                    f"{guide} does not support sequential pyro.plate: site {name!r} is inside 'for ... in "
                    f"plate({frame.name!r}, ...)'. Write 'with plate({frame.name!r}, ...):' in the model, or write the guide "
                    "of this site by hand, as a part of an AutoGuideList."
                )
            frames[frame.name] = frame
    return frames


def full_size_of(frame: CondIndepStackFrame) -> int:
    """The size of a plate before subsampling."""
    return frame.full_size or frame.size


def at_full_size(value: Tensor, site: Site, event_dim: int) -> Tensor:
    """A value for all rows of the plates around a site: the rows at hand, repeated."""
    for frame in site.cond_indep_stack:
        full_size = full_size_of(frame)
        if frame.dim is not None and full_size != frame.size:
            value = periodic_repeat(value, full_size, frame.dim - event_dim)
    # Never the user's own tensor: training would change it in place.
    return value.detach().clone().contiguous()


def unconstrained_start(site: Site) -> Tensor:
    """The initial value of a site in unconstrained space, for the rows at hand.

    Raises:
        ValueError: if the site is discrete or on a sphere, or its initial value is at the border of the support.
    """
    start: Tensor = transform_of(site).inv(site.value.detach()).detach()
    if not bool(start.isfinite().all()):
        raise ModelError(
            f"the initial value of site {site.name!r} has no finite image in unconstrained space: it is at the border of its "
            f"support, {site.fn.support}. Choose another init_loc_fn, for example init_to_feasible, or "
            f"init_to_value(values={{{site.name!r}: ...}}) with a value inside."
        )
    return start
