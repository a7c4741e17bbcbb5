"""Kingma and Ba (2015), Adam with the infinity norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.moments import BetaOptions
from ember.optim.rules.rule import Rate, Rule, Spread, count, directions, moved_by_quotient, over, same


@dataclass(frozen=True)
class AdamaxOptions(BetaOptions):
    """Options of Adamax."""

    lr: Rate = 2e-3


class AdamaxState(NamedTuple):
    """The average of gradients, and their decaying largest size."""

    step: Tensor
    exp_avg: Tensor
    exp_inf: Tensor


def init(param: Tensor, options: AdamaxOptions) -> AdamaxState:
    """The state before the first step."""
    return AdamaxState(count(param), torch.zeros_like(param), torch.zeros_like(param))


def update(
    params: Tensor, grads: Tensor, state: AdamaxState, options: AdamaxOptions, spread: Spread = same
) -> tuple[Tensor, AdamaxState]:
    """One step."""
    beta1, beta2 = options.betas
    step = state.step + 1
    grads = directions(params, grads, options.weight_decay, options.maximize)
    mean = torch.lerp(state.exp_avg, grads, 1 - beta1)
    largest = torch.maximum(state.exp_inf * beta2, grads.abs() + options.eps)
    sizes = -over(options.lr, 1 - beta1 ** step.double())
    params = moved_by_quotient(params, mean, largest, sizes, spread)
    return params, AdamaxState(step, mean, largest)


ADAMAX = Rule(AdamaxOptions, AdamaxState, init, update)
