"""What the rules with averages of the gradient and of its square begin with: Adam and its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ember.optim.rules.rule import Rate, averaged_square, directions, shrunk


@dataclass(frozen=True)
class BetaOptions:
    """Options of rules with two averages that decay."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    maximize: bool = False


@dataclass(frozen=True)
class MomentOptions(BetaOptions):
    """And with weight decay that may be apart from the gradient (Loshchilov and Hutter, 2019)."""

    decoupled_weight_decay: bool = False


class Moments(NamedTuple):
    """A step up to its averages."""

    params: Tensor
    """Shrunk, where weight decay is apart from the gradient."""
    grads: Tensor
    """The direction to descend."""
    step: Tensor
    """The count, of this step too."""
    t: Tensor
    """The same in float64."""
    mean: Tensor
    square: Tensor


def moments(
    params: Tensor, grads: Tensor, step: Tensor, mean: Tensor, square: Tensor, options: MomentOptions
) -> Moments:
    """Begin a step: count it, decay the weights, and bring the averages up to date."""
    beta1, beta2 = options.betas
    decoupled = options.decoupled_weight_decay
    step = step + 1
    grads = directions(params, grads, 0.0 if decoupled else options.weight_decay, options.maximize)
    params = shrunk(params, options.lr, options.weight_decay) if decoupled else params
    mean = torch.lerp(mean, grads, 1 - beta1)
    square = averaged_square(square, grads, beta2)
    return Moments(params, grads, step, step.double(), mean, square)
