"""The survival function of the chi-squared distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Number = float | Tensor


def _tensor(x: Number) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def log(x: Number) -> float:
    """The natural logarithm, as a number."""
    return math.log(float(x))


def incomplete_gamma(x: Number, s: Number) -> float:
    """The lower incomplete gamma function: the integral of ``t^(s - 1) e^-t`` from 0 to ``x``.

    >>> round(incomplete_gamma(1.0, 1.0), 6)  # 1 - 1/e
    0.632121
    """
    return float(torch.special.gammainc(_tensor(s), _tensor(x)) * torch.lgamma(_tensor(s)).exp())


def chi2sf(x: Number, s: Number) -> float:
    """The probability that a chi-squared variable of ``s`` degrees of freedom exceeds ``x``.

    >>> round(chi2sf(3.841, 1), 3)
    0.05
    """
    return float(torch.special.gammaincc(_tensor(s) / 2, _tensor(x) / 2))
