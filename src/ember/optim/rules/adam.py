"""Kingma and Ba (2015), "Adam"; with Reddi et al. (2018) for ``amsgrad`` and Loshchilov and Hutter (2019) for AdamW.

The root of the bias correction is rounded once, as in torch's fused kernel. The power of one half in torch's other variants is
another float64 in one step of some 1,500; all else has the bits of the plain variant (``foreach=False``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.moments import MomentOptions, moments
from ember.optim.rules.rule import Rule, Spread, count, moved_by_quotient, over, same, spread_to


@dataclass(frozen=True)
class AdamOptions(MomentOptions):
    """Options of Adam and AdamW."""

    amsgrad: bool = False


class AdamState(NamedTuple):
    """Averages of the gradient and its square, and the largest of the latter."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    max_exp_avg_sq: Tensor | None = None


def init(param: Tensor, options: AdamOptions) -> AdamState:
    """The state before the first step."""
    zeros = torch.zeros_like(param)
    return AdamState(count(param), zeros, zeros.clone(), zeros.clone() if options.amsgrad else None)


def update(
    params: Tensor, grads: Tensor, state: AdamState, options: AdamOptions, spread: Spread = same
) -> tuple[Tensor, AdamState]:
    """One step."""
    beta1, beta2 = options.betas
    params, _, step, t, mean, square = moments(
        params, grads, state.step, state.exp_avg, state.exp_avg_sq, options
    )
    largest = None if state.max_exp_avg_sq is None else torch.maximum(state.max_exp_avg_sq, square)
    sizes = -over(options.lr, 1 - beta1**t)
    scale = spread_to((1 - beta2**t).sqrt(), params, spread)
    below = (square if largest is None else largest).sqrt() / scale + options.eps
    params = moved_by_quotient(params, mean, below, sizes, spread)
    return params, AdamState(step, mean, square, largest)


ADAM = Rule(AdamOptions, AdamState, init, update)
