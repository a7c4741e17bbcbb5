"""What a stretch of iterates says of each parameter: R-hat, effective sample size, mean and its Monte Carlo error.

References:
    A. Gelman et al. (2013), *Bayesian Data Analysis*, section 11.4: split R-hat.
    C. Geyer (1992), "Practical Markov chain Monte Carlo": the sum of autocorrelations.
    A. Dhaka et al. (2020), "Robust, accurate stochastic optimization for variational inference": iterates as a chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.ops.chains import effective_sample_size, split_gelman_rubin

_COLUMNS_AT_ONCE = 4096
_ULPS = 16


def split_r_hat(rows: Tensor) -> Tensor:
    """Split R-hat of each column, without ranks: iterates are no draws with heavy tails.

    Args:
        rows: iterates in order, ``(n, P)``, n at least 4.

    Returns:
        Shape ``(P,)``; 1 where all that changes is rounding.

    >>> import torch
    >>> split_r_hat(torch.tensor([[0.0], [1.0], [0.0], [1.0], [0.0], [1.0]])) < 1.1, split_r_hat(torch.ones(6, 1))
    (tensor([True]), tensor([1.], dtype=torch.float64))
    """
    found = _by_columns(lambda columns: split_gelman_rubin(columns.unsqueeze(0)), rows)
    return torch.where(only_rounding(rows), 1.0, found.nan_to_num(nan=1.0, posinf=torch.inf))


def only_rounding(rows: Tensor) -> Tensor:
    """Whether a column changes by no more than rounding, ``(P,)``."""
    span = rows.amax(0) - rows.amin(0)
    return span <= _ULPS * torch.finfo(rows.dtype).eps * rows.abs().amax(0)


@dataclass(frozen=True)
class Average:
    """The mean of a stretch of iterates; all of shape ``(P,)``, float64."""

    mean: Tensor
    ess: Tensor
    """How many independent iterates would know the mean as well."""
    mcse: Tensor
    """The Monte Carlo error of the mean."""


def average(rows: Tensor) -> Average:
    """The average of iterates, and how well it is known.

    Args:
        rows: iterates in order, ``(n, P)``, n at least 4.
    """
    mean = _by_columns(lambda columns: columns.mean(0), rows)
    sd = _by_columns(lambda columns: columns.std(0), rows)
    ess = _by_columns(lambda columns: effective_sample_size(columns.unsqueeze(0)), rows)
    ess = torch.where(only_rounding(rows), float(len(rows)), ess.nan_to_num(nan=float(len(rows))))
    return Average(mean, ess, sd / ess.clamp_min(1.0).sqrt())


def _by_columns(fn: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([fn(columns.double()) for columns in torch.split(rows, _COLUMNS_AT_ONCE, 1)])
