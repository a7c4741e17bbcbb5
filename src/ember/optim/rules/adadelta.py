"""Zeiler (2012), an adaptive rate from running averages of gradients and updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, averaged_square, count, directions, moved, same


@dataclass(frozen=True)
class AdadeltaOptions:
    """Options of Adadelta."""

    lr: Rate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    maximize: bool = False


class AdadeltaState(NamedTuple):
    """Averages of squared gradients and squared updates."""

    step: Tensor
    square_avg: Tensor
    acc_delta: Tensor


def init(param: Tensor, options: AdadeltaOptions) -> AdadeltaState:
    """The state before the first step."""
    return AdadeltaState(count(param), torch.zeros_like(param), torch.zeros_like(param))


def update(
    params: Tensor, grads: Tensor, state: AdadeltaState, options: AdadeltaOptions, spread: Spread = same
) -> tuple[Tensor, AdadeltaState]:
    """One step."""
    grads = directions(params, grads, options.weight_decay, options.maximize)
    square = averaged_square(state.square_avg, grads, options.rho)
    ratio = (state.acc_delta + options.eps).sqrt() / (square + options.eps).sqrt()
    delta = ratio * grads
    deltas = averaged_square(state.acc_delta, delta, options.rho)
    return moved(params, delta, options.lr), AdadeltaState(state.step + 1, square, deltas)


ADADELTA = Rule(AdadeltaOptions, AdadeltaState, init, update)
