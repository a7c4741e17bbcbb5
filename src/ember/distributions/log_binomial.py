"""The log of binomial coefficients, exactly or by Stirling's series."""

from __future__ import annotations

import math

from torch import Tensor

# Three terms of Stirling's series, each off by less than 1 / 360 at arguments of 1 and more (Robbins, 1955).
_SERIES_ERROR = 3 / 360


def log_binomial(n: Tensor, k: Tensor, tol: float = 0.0) -> Tensor:
    """``log C(n, k)``, with an error of at most ``tol``.

    Three logarithms take the place of three log gamma functions where ``tol`` allows it, from about 0.0084 on.

    References:
        H. Robbins (1955), "A remark on Stirling's formula".

    >>> import torch
    >>> log_binomial(torch.tensor(4.0), torch.tensor(2.0)).exp()
    tensor(6.)
    """
    n, k, rest = n + 1, k + 1, n - k + 1
    if tol < _SERIES_ERROR:
        return n.lgamma() - k.lgamma() - rest.lgamma()
    leading = (n - 0.5) * n.log() - (k - 0.5) * k.log() - (rest - 0.5) * rest.log()
    correction = (n.reciprocal() - k.reciprocal() - rest.reciprocal()) / 12
    return leading + correction + (1 - 0.5 * math.log(2 * math.pi))
