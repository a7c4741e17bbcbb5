"""Liu et al. (2020), Adam with a rectified variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.moments import MomentOptions, moments
from ember.optim.rules.rule import Rule, Spread, count, same, spread_to

# With fewer effective observations the variance cannot be rectified.
_FEWEST = 5.0


@dataclass(frozen=True)
class RAdamOptions(MomentOptions):
    """Options of RAdam."""


class RAdamState(NamedTuple):
    """Averages of the gradient and its square."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


def init(param: Tensor, options: RAdamOptions) -> RAdamState:
    """The state before the first step."""
    return RAdamState(count(param), torch.zeros_like(param), torch.zeros_like(param))


def update(
    params: Tensor, grads: Tensor, state: RAdamState, options: RAdamOptions, spread: Spread = same
) -> tuple[Tensor, RAdamState]:
    """One step."""
    beta1, beta2 = options.betas
    params, _, step, t, mean, square = moments(
        params, grads, state.step, state.exp_avg, state.exp_avg_sq, options
    )
    correction = 1 - beta2**t
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * t * beta2**t / correction
    rectified = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)).sqrt()
    lr = options.lr.to(params.dtype) if isinstance(options.lr, Tensor) else options.lr
    plain = mean / spread_to(1 - beta1**t, params, spread) * lr
    adapted = (square.sqrt() + options.eps).reciprocal() * spread_to(correction.sqrt(), params, spread)
    enough = spread(length > _FEWEST)
    change = torch.where(enough, plain * adapted * spread_to(rectified, params, spread), plain)
    return params - change, RAdamState(step, mean, square)


RADAM = Rule(RAdamOptions, RAdamState, init, update)
