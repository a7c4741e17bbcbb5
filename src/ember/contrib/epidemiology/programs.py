"""The programs that a compartmental model stands for: forward in time, and given all of its states at
once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember import poutine
from ember.contrib.epidemiology.distributions import set_relaxed_distributions
from ember.contrib.epidemiology.interface import CompartmentalInterface, State, Time
from ember.contrib.epidemiology.quantization import quantize
from ember.contrib.epidemiology.tensors import cat2
from ember.distributions.typed_torch import interval
from ember.distributions.validation import all_valid
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.primitives import deterministic, sample

#: The site of all counts as real numbers, of shape ``(compartments, time)`` or ``(compartments, time,
#: regions)``.
AUXILIARY = "auxiliary"
# How far counts may be off before a transition is said to contradict its flows, relative to the largest of
# both.
_TOLERANCE = 1e-5


def generative(model: CompartmentalInterface, forecast: int = 0) -> None:
    """Forward in time, step by step.

    Args:
        model: the model.
        forecast: how many steps after its duration.
    """
    with model.new_plates():
        params = model.global_model()
        state = {name: torch.as_tensor(count) for name, count in model.initialize(params).items()}
        state = {
            name: x if x.is_floating_point() else x.to(torch.get_default_dtype()) for name, x in state.items()
        }
        for t in range(model.duration + forecast):
            state |= {f"{name}_approx": state[name] for name in model.approximate}
            model.transition(params, state, t)
            with model.region_plate:
                for name in model.compartments:
                    deterministic(f"{name}_{t}", state[name], event_dim=0)


def relaxed(model: CompartmentalInterface) -> None:
    """All steps at once, given real-valued counts: what variational inference fits.

    It may be run inside of a plate of particles, left of all others.
    """
    with set_relaxed_distributions(), model.new_plates():
        params = model.global_model()
        counts, others = _sample_series(model)
        batch_dims = counts.dim() - (3 if model.is_regional else 2)
        curr: State = dict(zip(model.compartments, counts.unbind(batch_dims), strict=True))
        curr |= others
        prev: State = {}
        before_last = (slice(None),) * batch_dims + (slice(0, -1),)
        for name, start in model.initialize(params).items():
            if name not in curr:
                raise ValueError(
                    f"initialize() gives {name!r}, which is neither one of the compartments "
                    f"{model.compartments} nor a latent site of "
                    f"transition(): {', '.join(others) or 'there is none'}"
                )
            prev[name] = cat2(start, curr[name][before_last], dim=batch_dims - curr[name].dim())
        for state in (prev, curr):
            state |= {f"{name}_approx": state[name] for name in model.approximate}
        with model.time_plate:
            _given_states(model, params, prev, curr, slice(0, model.duration, 1))
        with _NoLatentVariables("finalize()"):
            model.finalize(params, prev, curr)


def sequential(model: CompartmentalInterface) -> None:
    """Step by step, given real-valued counts, which are rounded. It is run inside of a plate of samples."""
    with model.new_plates():
        params = model.global_model()
        counts, others = _sample_series(model)
        by_compartment = counts.unsqueeze(1).unbind(2)
        curr = dict(model.initialize(params))
        for t in range(model.duration):
            prev, curr = curr, {name: value[:, t : t + 1] for name, value in others.items()}
            with model.region_plate:
                for name, series in zip(model.compartments, by_compartment, strict=True):
                    real = series.select(2, t)
                    curr[name] = quantize(f"{name}_{t}", real, min=0, max=model.population, num_quant_bins=1)
                    if name in model.approximate:
                        curr[f"{name}_approx"] = real
                        prev.setdefault(f"{name}_approx", prev[name])
            _given_states(model, params, prev, curr, t)


def range_of_counts(model: CompartmentalInterface) -> Any:
    """The support of counts as real numbers: what rounds to 0 up to the population."""
    return interval(-0.5, torch.as_tensor(model.population + 0.5))


def _sample_series(model: CompartmentalInterface) -> tuple[Tensor, dict[str, Tensor]]:
    """Sample the counts, and other latent series: values of the shapes of these, with at most one batch dim
    on the left."""
    regions = tuple(getattr(model.population, "shape", ()))
    shape = (len(model.compartments), model.duration, *regions)
    # Flows given the counts have densities of their own, so that this has none.
    counts = sample(AUXILIARY, dist.ImproperUniform(range_of_counts(model), (), ()).expand(shape).to_event())
    batch_dims = counts.dim() - len(shape)
    others = {}
    for name, (fn, is_local) in model.latent_series.items():
        local = (regions if is_local else (1,)) if model.is_regional else ()
        improper = dist.ImproperUniform(fn.support, fn.batch_shape, fn.event_shape)
        others[name] = sample(name, improper.expand((model.duration, *local)).to_event())
    return _one_batch_dim(counts, batch_dims), {n: _one_batch_dim(x, batch_dims) for n, x in others.items()}


def _one_batch_dim(x: Tensor, batch_dims: int) -> Tensor:
    # Inside of a plate of particles, the dims of other plates are there, of size 1.
    return x.reshape(x.shape[:1] + x.shape[batch_dims:]) if batch_dims else x


def _given_states(model: CompartmentalInterface, params: Any, prev: State, curr: State, t: Time) -> None:
    """The densities of a transition between two states.

    Raises:
        ValueError: if ``transition`` does not lead from one to the other, where validation is on.
    """
    given = {f"{name}_{t}": value for name, value in curr.items()}
    given |= model.compute_flows(prev, curr, t)
    reached = dict(prev)
    with poutine.condition(data=given):
        model.transition(params, reached, t)
    if not is_validation_enabled():
        return
    for name in model.compartments:
        here, there, before = (torch.as_tensor(state[name]) for state in (reached, curr, prev))
        if not all_valid((here - there).abs() <= _TOLERANCE * (1 + torch.maximum(there.abs(), before.abs()))):
            raise ValueError(
                f"Incorrect state['{name}'] update in .transition(), "
                "check that .transition() matches .compute_flows(). "
                "A compartment whose count follows from the others is none: compute it in .transition()."
            )


class _NoLatentVariables(Messenger):
    """Refuses them, before anything else gives them a value."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def _pyro_sample(self, msg: Site) -> None:
        if is_validation_enabled() and not msg.is_observed and not msg.is_subsample:
            raise NotImplementedError(
                f".{self.where} contained latent variable {msg.name}; "
                "sample it in global_model() or transition()"
            )
