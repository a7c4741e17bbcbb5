"""Robbins and Monro (1951), gradient steps; with momentum, damped or Nesterov's (Sutskever et al., 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, Rule, Spread, directions, moved, same


@dataclass(frozen=True)
class SGDOptions:
    """Options of SGD."""

    lr: Rate = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False


class SGDState(NamedTuple):
    """The momentum; None before the first step, and without momentum."""

    momentum_buffer: Tensor | None = None


def init(param: Tensor, options: SGDOptions) -> SGDState:
    """The state before the first step: the first gradient becomes the momentum."""
    return SGDState()


def update(
    params: Tensor, grads: Tensor, state: SGDState, options: SGDOptions, spread: Spread = same
) -> tuple[Tensor, SGDState]:
    """One step."""
    grads = directions(params, grads, options.weight_decay, options.maximize)
    if options.momentum == 0:
        return moved(params, grads, options.lr), state
    if state.momentum_buffer is None:
        buffer = grads.clone()
    else:
        buffer = torch.add(state.momentum_buffer * options.momentum, grads, alpha=1 - options.dampening)
    along = grads.add(buffer, alpha=options.momentum) if options.nesterov else buffer
    return moved(params, along, options.lr), SGDState(buffer)


SGD = Rule(SGDOptions, SGDState, init, update, numbers=())
