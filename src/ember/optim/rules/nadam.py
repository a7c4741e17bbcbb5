"""Dozat (2016), Adam with Nesterov momentum."""

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
    moved_by_quotient,
    same,
    shrunk,
    spread_to,
)


@dataclass(frozen=True)
class NAdamOptions:
    """Options of NAdam."""

    lr: Rate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False
    maximize: bool = False


class NAdamState(NamedTuple):
    """Averages of the gradient and its square, and the product of all momenta so far."""

    step: Tensor
    mu_product: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


def init(param: Tensor, options: NAdamOptions) -> NAdamState:
    """The state before the first step."""
    step = count(param)
    return NAdamState(step, torch.ones_like(step), torch.zeros_like(param), torch.zeros_like(param))


def update(
    params: Tensor, grads: Tensor, state: NAdamState, options: NAdamOptions, spread: Spread = same
) -> tuple[Tensor, NAdamState]:
    """One step."""
    beta1, beta2 = options.betas
    decoupled = options.decoupled_weight_decay
    step = state.step + 1
    t = step.double()
    grads = directions(params, grads, 0.0 if decoupled else options.weight_decay, options.maximize)
    params = shrunk(params, options.lr, options.weight_decay) if decoupled else params
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * options.momentum_decay))
    next_mu = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1) * options.momentum_decay))
    product = state.mu_product * mu.to(state.mu_product.dtype)
    mean = torch.lerp(state.exp_avg, grads, 1 - beta1)
    square = averaged_square(state.exp_avg_sq, grads, beta2)
    below = (square / spread_to(1 - beta2**t, params, spread)).sqrt() + options.eps
    of_grads = -options.lr * (1.0 - mu) / (1.0 - product.double())
    of_means = (-options.lr * next_mu) / (1.0 - product.double() * next_mu)
    params = moved_by_quotient(params, grads, below, spread_to(of_grads, params, spread))
    params = moved_by_quotient(params, mean, below, spread_to(of_means, params, spread))
    return params, NAdamState(step, product, mean, square)


NADAM = Rule(NAdamOptions, NAdamState, init, update, numbers=("step", "mu_product"))
