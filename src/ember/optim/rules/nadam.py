"""Dozat (2016), Adam with Nesterov momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.moments import MomentOptions, moments
from ember.optim.rules.rule import Rate, Rule, Spread, count, moved_by_quotient, same, spread_to


@dataclass(frozen=True)
class NAdamOptions(MomentOptions):
    """Options of NAdam."""

    lr: Rate = 2e-3
    momentum_decay: float = 4e-3


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
    params, grads, step, t, mean, square = moments(
        params, grads, state.step, state.exp_avg, state.exp_avg_sq, options
    )
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * options.momentum_decay))
    next_mu = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1) * options.momentum_decay))
    product = state.mu_product * mu.to(state.mu_product.dtype)
    below = (square / spread_to(1 - beta2**t, params, spread)).sqrt() + options.eps
    of_grads = -options.lr * (1.0 - mu) / (1.0 - product.double())
    of_means = (-options.lr * next_mu) / (1.0 - product.double() * next_mu)
    params = moved_by_quotient(params, grads, below, of_grads, spread)
    params = moved_by_quotient(params, mean, below, of_means, spread)
    return params, NAdamState(step, product, mean, square)


NADAM = Rule(NAdamOptions, NAdamState, init, update, numbers=("step", "mu_product"))
