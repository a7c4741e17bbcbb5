"""Duchi, Hazan and Singer (2011), step sizes from accumulated squared gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, count, directions, moved_by_quotient, over, same


@dataclass(frozen=True)
class AdagradOptions:
    """Options of Adagrad."""

    lr: Rate = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    maximize: bool = False


class AdagradState(NamedTuple):
    """The sum of squared gradients."""

    step: Tensor
    sum: Tensor


def init(param: Tensor, options: AdagradOptions) -> AdagradState:
    """The state before the first step."""
    start = options.initial_accumulator_value
    return AdagradState(
        count(param), torch.full_like(param, complex(start, start) if param.is_complex() else start)
    )


def update(
    params: Tensor, grads: Tensor, state: AdagradState, options: AdagradOptions, spread: Spread = same
) -> tuple[Tensor, AdagradState]:
    """One step."""
    step = state.step + 1
    grads = directions(params, grads, options.weight_decay, options.maximize)
    total = torch.addcmul(state.sum, grads, grads, value=1)
    sizes = -over(options.lr, 1 + (step.double() - 1) * options.lr_decay)
    below = total.sqrt() + options.eps
    params = moved_by_quotient(params, grads, below, sizes, spread)
    return params, AdagradState(step, total)


ADAGRAD = Rule(AdagradOptions, AdagradState, init, update)
