"""Liu et al. (2020), Adam with a rectified variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import (
    Rate,
    Rule,
    Spread,
    averaged_square,
    count,
    directions,
    same,
    shrunk,
    spread_to,
)

# With fewer effective observations the variance cannot be rectified.
_FEWEST = 5.0


@dataclass(frozen=True)
class RAdamOptions:
    """Options of RAdam."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    maximize: bool = False


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
    decoupled = options.decoupled_weight_decay
    step = state.step + 1
    t = step.double()
    grads = directions(params, grads, 0.0 if decoupled else options.weight_decay, options.maximize)
    params = shrunk(params, options.lr, options.weight_decay) if decoupled else params
    mean = torch.lerp(state.exp_avg, grads, 1 - beta1)
    square = averaged_square(state.exp_avg_sq, grads, beta2)
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
