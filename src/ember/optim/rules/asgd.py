"""Polyak and Juditsky (1992), averaged stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, count, directions, over, same, spread_to


@dataclass(frozen=True)
class ASGDOptions:
    """Options of ASGD."""

    lr: Rate = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    weight_decay: float = 0.0
    maximize: bool = False


class ASGDState(NamedTuple):
    """Step size and weight of the next step, and the averaged parameter."""

    step: Tensor
    eta: Tensor
    mu: Tensor
    ax: Tensor


def init(param: Tensor, options: ASGDOptions) -> ASGDState:
    """The state before the first step."""
    step = count(param)
    return ASGDState(step, step + options.lr, torch.ones_like(step), torch.zeros_like(param))


def update(
    params: Tensor, grads: Tensor, state: ASGDState, options: ASGDOptions, spread: Spread = same
) -> tuple[Tensor, ASGDState]:
    """One step."""
    step = state.step + 1
    grads = directions(params, grads, options.weight_decay, options.maximize)
    eta = state.eta.double()
    params = params * spread_to(1 - options.lambd * eta, params, spread)
    params = torch.addcmul(params, grads, spread_to(eta, params, spread), value=-1)
    # Beyond t0 the average is taken; before it follows the parameter, bit for bit.
    mu = spread_to(state.mu, params, spread)
    average = torch.where(mu == 1, params, state.ax + (params - state.ax) * mu)
    t = step.double()
    eta = over(options.lr, (1 + options.lambd * options.lr * t) ** options.alpha)
    mu = 1 / torch.clamp(t - options.t0, min=1)
    return params, ASGDState(step, eta.to(state.eta.dtype), mu.to(state.mu.dtype), average)


ASGD = Rule(ASGDOptions, ASGDState, init, update, numbers=("step", "eta", "mu"))
