"""The step-size sequence of ADVI (Kucukelbir et al., 2017, equations 10 and 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rule, Spread, same, spread_to


@dataclass(frozen=True)
class AdagradRMSPropOptions:
    """Options of AdagradRMSProp."""

    eta: float = 1.0
    delta: float = 1.0e-16
    t: float = 0.1


class AdagradRMSPropState(NamedTuple):
    """The average of squared gradients."""

    step: Tensor
    sum: Tensor


def init(param: Tensor, options: AdagradRMSPropOptions) -> AdagradRMSPropState:
    """The state before the first step."""
    step = torch.zeros((), dtype=torch.float64, device=param.device)
    return AdagradRMSPropState(step, torch.zeros_like(param))


def update(
    params: Tensor,
    grads: Tensor,
    state: AdagradRMSPropState,
    options: AdagradRMSPropOptions,
    spread: Spread = same,
) -> tuple[Tensor, AdagradRMSPropState]:
    """One step."""
    i = state.step + 1.0
    # The first squared gradient starts the average, with weight one.
    weights = torch.where(i == 1, torch.ones_like(i), torch.full_like(i, options.t))
    old, new = spread_to(1.0 - weights, params, spread), spread_to(weights, params, spread)
    total = state.sum * old + grads * new * grads
    sizes = options.eta * i ** (-0.5 + options.delta)
    updates = grads / (total.sqrt() + 1.0) * spread_to(sizes, params, spread)
    return params - updates, AdagradRMSPropState(i, total)


ADAGRAD_RMSPROP = Rule(AdagradRMSPropOptions, AdagradRMSPropState, init, update)
