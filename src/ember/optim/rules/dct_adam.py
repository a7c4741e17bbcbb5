"""Adam with clamped gradients, for time series in time and frequency at once, or on the drawn entries of a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ember.errors import CaptureError
from ember.optim.rules.cosine import from_frequencies, with_frequencies
from ember.optim.rules.rule import Rate, Rule, Spread, same, spread_to


@dataclass(frozen=True)
class DCTAdamOptions:
    """Options of DCTAdam, and two facts about the parameter."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 10.0
    lrd: float = 1.0
    time_dim: int | None = None
    """The (negative) dim of a time series."""
    drawn: Tensor | None = None
    """Which entries a plate has drawn: the others, and their statistics, stay as they are."""

    def __post_init__(self) -> None:
        if self.time_dim is not None and self.drawn is not None:
            raise NotImplementedError("DCTAdam: a parameter cannot be both subsampled and a time series")


class DCTAdamState(NamedTuple):
    """Averages of the gradient and its square; the count of steps, one for each entry if entries are drawn."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


def drawn_entries(param: Tensor, subsample: Mapping[int, Any]) -> Tensor:
    """Which entries of a parameter plates have drawn, from indices by (negative) dim.

    >>> drawn_entries(torch.zeros(4), {-1: [0, 2]})
    tensor([ True, False,  True, False])
    """
    mask = torch.ones((1,) * param.dim(), dtype=torch.bool, device=param.device)
    for dim, indices in subsample.items():
        where = torch.as_tensor(indices, device=param.device)
        along = torch.zeros(param.shape[dim], dtype=torch.bool, device=param.device)
        along = along.index_fill(0, where, True)
        mask = mask & along.reshape((-1,) + (1,) * (-1 - dim))
    return mask.expand(param.shape)


def init(param: Tensor, options: DCTAdamOptions) -> DCTAdamState:
    """The state before the first step."""
    like = param if options.time_dim is None else with_frequencies(param.detach(), options.time_dim)
    shape = () if options.drawn is None else like.shape
    step = torch.zeros(shape, dtype=torch.float64, device=param.device)
    return DCTAdamState(step, torch.zeros_like(like), torch.zeros_like(like))


def update(
    params: Tensor, grads: Tensor, state: DCTAdamState, options: DCTAdamOptions, spread: Spread = same
) -> tuple[Tensor, DCTAdamState]:
    """One step of one parameter."""
    beta1, beta2 = options.betas
    dim, drawn = options.time_dim, options.drawn
    grads = grads.clamp(-options.clip_norm, options.clip_norm)
    grads = grads if dim is None else with_frequencies(grads, dim)
    step = state.step.expand(grads.shape) if drawn is not None and state.step.dim() == 0 else state.step
    step = step + (1.0 if drawn is None else drawn)
    mean = state.exp_avg * beta1 + grads * (1 - beta1)
    square = state.exp_avg_sq * beta2 + grads * grads * (1 - beta2)
    if drawn is not None:
        mean = torch.where(drawn, mean, state.exp_avg)
        square = torch.where(drawn, square, state.exp_avg_sq)
    # Entries never drawn have step 0; their update is left out, so any finite count will do.
    t = step.clamp(min=1)
    sizes = options.lr * torch.sqrt(1 - beta2**t) / (1 - beta1**t)
    updates = mean / (square.sqrt() + options.eps) * spread_to(sizes, grads, spread)
    updates = updates if drawn is None else torch.where(drawn, updates, torch.zeros_like(updates))
    updates = updates if dim is None else from_frequencies(updates, dim, params.size(dim))
    return params - updates, DCTAdamState(step, mean, square)


def next_rate(rate: Rate, options: DCTAdamOptions) -> Rate:
    """The rate decays before every step, the first included."""
    return rate * options.lrd


def facts(param: Tensor, group: Mapping[str, Any], recorded: Tensor) -> Mapping[str, Any]:
    """What attributes say: the parameter's dim of time, and the indices that plates have drawn in this step."""
    found: dict[str, Any] = {}
    subsample = getattr(recorded, "_pyro_subsample", None)
    if group["subsample_aware"] and subsample:
        found["drawn"] = drawn_entries(recorded, subsample)
    elif group["subsample_aware"] and getattr(param, "_pyro_subsample", None):
        raise CaptureError(
            "DCTAdam updates the drawn rows of a parameter, but which these are was not recorded"
        )
    if (time_dim := getattr(param, "_pyro_dct_dim", None)) is not None:
        found["time_dim"] = time_dim
    return found


DCT_ADAM = Rule(DCTAdamOptions, DCTAdamState, init, update, next_rate=next_rate, facts=facts)
