"""Riedmiller and Braun (1993), steps from the signs of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, count, directions, same


@dataclass(frozen=True)
class RpropOptions:
    """Options of Rprop; ``lr`` is the size of the first step."""

    lr: Rate = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    maximize: bool = False


class RpropState(NamedTuple):
    """The gradient before, and the size of the next step."""

    step: Tensor
    prev: Tensor
    step_size: Tensor


def init(param: Tensor, options: RpropOptions) -> RpropState:
    """The state before the first step."""
    size = torch.zeros_like(param) + options.lr
    if param.is_complex():
        size = size + 1j * size
    return RpropState(count(param), torch.zeros_like(param), size)


def update(
    params: Tensor, grads: Tensor, state: RpropState, options: RpropOptions, spread: Spread = same
) -> tuple[Tensor, RpropState]:
    """One step."""
    smaller, larger = options.etas
    grads = directions(params, grads, maximize=options.maximize)
    sign = (grads * state.prev).sign()
    factor = torch.where(sign > 0, larger, torch.where(sign < 0, smaller, torch.ones_like(sign)))
    size = (state.step_size * factor).clamp(*options.step_sizes)
    # After a change of sign an entry rests for one step.
    grads = torch.where(sign < 0, torch.zeros_like(grads), grads)
    params = torch.addcmul(params, grads.sign(), size, value=-1)
    return params, RpropState(state.step + 1, grads, size)


RPROP = Rule(RpropOptions, RpropState, init, update)
