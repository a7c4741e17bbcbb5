"""Draws that stand for a posterior: those that are given, or those of a guide corrected by their weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ember.errors import EmberError
from ember.ops.psis import k_hat_limit, psis
from ember.ops.resampled import resampled
from ember.report.posterior import Posterior

_POOL = 2


@dataclass(frozen=True)
class Corrected:
    """Draws of equal weight.

    Attributes:
        draws: by site, along dim 0.
        relative_ess: effective draws among them, as a fraction.
        trouble: why draws of the guide could not be corrected; empty otherwise.
    """

    draws: dict[str, Tensor]
    relative_ess: float = 1.0
    trouble: str = ""


def corrected(posterior: Posterior, number: int) -> Corrected:
    """So many draws of a posterior, or fewer if fewer are given.

    Of a guide, twice as many are drawn and weighed by the model, and draws of equal weight chosen among
    them. Where weights cannot be had, or k-hat is above its limit, the draws are those of the guide itself.

    Args:
        posterior: a model with draws or a guide.
        number: of draws.
    """
    if posterior.guide is None:
        return Corrected(posterior.draw(number))
    try:
        drawn = posterior.pair.draw(_POOL * number)
    except EmberError as error:
        own = posterior.draw(number)
        return Corrected(own, trouble=str(error).partition("\n")[0] if own else "")
    if not drawn.values:
        return Corrected({})
    if all(bool((value == value[0]).all()) for value in drawn.values.values()):
        return Corrected(drawn.values, trouble="the guide is one point, without the spread of the posterior")
    smoothed = psis(drawn.log_p - drawn.log_q)
    limit = k_hat_limit(_POOL * number)
    if smoothed.k_hat > limit:
        own = {name: value[:number] for name, value in drawn.values.items()}
        return Corrected(
            own, trouble=f"k-hat of the guide's weights is {smoothed.k_hat:.2f}, above {limit:.2f}"
        )
    rows = resampled(smoothed.log_weights, smoothed.ess, number, int(torch.randint(1 << 31, ())))
    return Corrected(
        {name: value[rows] for name, value in drawn.values.items()}, min(1.0, smoothed.ess / number)
    )
