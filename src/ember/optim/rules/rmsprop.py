"""Hinton (2012), gradients over their running root mean square; centred as in Graves (2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, averaged_square, count, directions, moved, same


@dataclass(frozen=True)
class RMSpropOptions:
    """Options of RMSprop."""

    lr: Rate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    maximize: bool = False


class RMSpropState(NamedTuple):
    """Averages of the squared gradient and, if the options ask for them, of steps and gradients."""

    step: Tensor
    square_avg: Tensor
    momentum_buffer: Tensor | None = None
    grad_avg: Tensor | None = None


def init(param: Tensor, options: RMSpropOptions) -> RMSpropState:
    """The state before the first step."""
    zeros = torch.zeros_like(param)
    momentum = zeros.clone() if options.momentum > 0 else None
    return RMSpropState(count(param), zeros, momentum, zeros.clone() if options.centered else None)


def update(
    params: Tensor, grads: Tensor, state: RMSpropState, options: RMSpropOptions, spread: Spread = same
) -> tuple[Tensor, RMSpropState]:
    """One step."""
    grads = directions(params, grads, options.weight_decay, options.maximize)
    square = averaged_square(state.square_avg, grads, options.alpha)
    mean, buffer = state.grad_avg, state.momentum_buffer
    if options.centered and mean is not None:
        mean = torch.lerp(mean, grads, 1 - options.alpha)
        below = torch.addcmul(square, mean, mean, value=-1).sqrt() + options.eps
    else:
        below = square.sqrt() + options.eps
    if options.momentum > 0 and buffer is not None:
        buffer = torch.addcdiv(buffer * options.momentum, grads, below)
        params = moved(params, buffer, options.lr)
    else:
        lr = options.lr.to(params.dtype) if isinstance(options.lr, Tensor) else options.lr
        params = params + (grads * -lr) / below
    return params, RMSpropState(state.step + 1, square, buffer, mean)


RMSPROP = Rule(RMSpropOptions, RMSpropState, init, update)
