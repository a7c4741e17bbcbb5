"""Adam with clamped gradients, a decaying learning rate and, optionally, a centred variance (Rengaraj et al., 2023, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, averaged_square, directions, same, spread_to


@dataclass(frozen=True)
class ClippedAdamOptions:
    """Options of ClippedAdam; ``lr`` is the rate of this step, its decay applied."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 10.0
    lrd: float = 1.0
    centered_variance: bool = False


class ClippedAdamState(NamedTuple):
    """Averages of the gradient and its square."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


def init(param: Tensor, options: ClippedAdamOptions) -> ClippedAdamState:
    """The state before the first step, with a count in float64 for exact bias corrections."""
    zeros = torch.zeros_like(param)
    step = torch.zeros((), dtype=torch.float64, device=param.device)
    return ClippedAdamState(step, zeros, zeros.clone())


def update(
    params: Tensor, grads: Tensor, state: ClippedAdamState, options: ClippedAdamOptions, spread: Spread = same
) -> tuple[Tensor, ClippedAdamState]:
    """One step."""
    beta1, beta2 = options.betas
    grads = grads.clamp(-options.clip_norm, options.clip_norm)
    grads = directions(params, grads, options.weight_decay)
    t = state.step + 1.0
    mean = torch.add(state.exp_avg * beta1, grads, alpha=1 - beta1)
    square = averaged_square(state.exp_avg_sq, grads - mean if options.centered_variance else grads, beta2)
    sizes = options.lr * torch.sqrt(1 - beta2**t) / (1 - beta1**t)
    updates = mean / (square.sqrt() + options.eps) * spread_to(sizes, params, spread)
    return params - updates, ClippedAdamState(t, mean, square)


def next_rate(rate: Rate, options: ClippedAdamOptions) -> Rate:
    """The rate decays before every step, the first included."""
    return rate * options.lrd


CLIPPED_ADAM = Rule(ClippedAdamOptions, ClippedAdamState, init, update, next_rate=next_rate)
