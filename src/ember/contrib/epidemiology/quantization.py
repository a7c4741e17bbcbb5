"""Real numbers rounded at random to integers nearby, with probabilities that are smooth in the number.

The probabilities are cardinal B-splines (I. J. Schoenberg, 1946, "Contributions to the problem of
approximation of equidistant data by analytic functions"), each smoothed by a symmetric filter over
neighbours. Splines sum to one and have their centre at the number, so that rounding is unbiased.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ember import distributions as dist
from ember.ops.special import safe_log
from ember.primitives import deterministic, sample

Number = float | Tensor

# Number of bins -> the degree of the spline, and the filter's weights times their sum.
_SPLINES: dict[int, tuple[int, tuple[int, ...]]] = {
    2: (1, (1,)),
    4: (3, (1,)),
    8: (5, (2, 3, 2)),
    12: (7, (7, 16, 20, 16, 7)),
    16: (9, (6, 18, 30, 35, 30, 18, 6)),
}
_Polynomial = list[Fraction]


def _added(a: _Polynomial, b: _Polynomial) -> _Polynomial:
    return [x + y for x, y in zip(a, b, strict=True)]


def _pieces(degree: int) -> list[_Polynomial]:
    """The polynomials of a B-spline on its unit intervals, from the left, each in the distance from its left
    end.

    By the recurrence of de Boor and Cox: ``d B_d(x) = x B_(d-1)(x) + (d + 1 - x) B_(d-1)(x - 1)``.
    """
    if degree == 0:
        return [[Fraction(1)]]
    zero = [Fraction(0)] * (degree + 1)
    out = [list(zero) for _ in range(degree + 1)]
    for start, piece in enumerate(_pieces(degree - 1)):
        raised, kept = [Fraction(0), *piece], [*piece, Fraction(0)]
        rising = [start * k + r for k, r in zip(kept, raised, strict=True)]
        falling = [(degree - start) * k - r for k, r in zip(kept, raised, strict=True)]
        for interval, term in ((start, rising), (start + 1, falling)):
            out[interval] = _added(out[interval], [x / degree for x in term])
    return out


@cache
def _coefficients(num_quant_bins: int) -> tuple[tuple[float, ...], ...]:
    """For each bin the coefficients of its probability as a polynomial in ``1 - s``."""
    degree, weights = _SPLINES[num_quant_bins]
    pieces = _pieces(degree)
    bins = [[Fraction(0)] * (degree + 1) for _ in range(num_quant_bins)]
    for shift, weight in enumerate(weights):
        for place, piece in enumerate(pieces):
            share = [x * weight / sum(weights) for x in piece]
            bins[shift + place] = _added(bins[shift + place], share)
    return tuple(tuple(float(x) for x in row) for row in bins)


#: The coefficients of eight of sixteen bins, as Pyro has them: those up to the seventh, and the ninth.
W16 = np.array([_coefficients(16)[i] for i in (0, 1, 2, 3, 4, 5, 6, 8)])


def compute_bin_probs(s: Tensor, num_quant_bins: int) -> Tensor:
    """The probabilities of the integers around a number.

    Args:
        s: the distance of the number from the integer below, in [0, 1].
        num_quant_bins: how many integers: 2, 4, 8, 12 or 16.

    Returns:
        A tensor of shape ``s.shape + (num_quant_bins,)``.

    Raises:
        ValueError: for another number of bins.

    >>> compute_bin_probs(torch.tensor(0.25), 2)
    tensor([0.7500, 0.2500])
    """
    if num_quant_bins not in _SPLINES:
        raise ValueError(
            f"Unsupported num_quant_bins: {num_quant_bins}; it is one of {', '.join(map(str, _SPLINES))}"
        )
    left = torch.tensor(_coefficients(num_quant_bins)[: num_quant_bins // 2], dtype=s.dtype, device=s.device)
    powers = torch.arange(left.size(-1), device=s.device)
    # The right half is the left one of the mirrored number; tails in the powers of the small distance do not
    # cancel.
    halves = [(x[..., None, None].pow(powers) * left).sum(-1) for x in (1 - s, s)]
    return torch.cat([halves[0], halves[1].flip(-1)], -1)


def _reflected(x: Tensor, min: Number, max: Number) -> Tensor:
    """Integers beyond a bound, put back by as much."""
    x = torch.maximum(x, torch.as_tensor(2 * min - 1 - x))
    return torch.minimum(x, torch.as_tensor(2 * max + 1 - x))


def _check_range(min: Number, max: Number) -> None:
    assert bool(torch.as_tensor(min < max).all()), f"min is below max, and not {min} and {max}"


def quantize(name: str, x_real: Tensor, min: Number, max: Number, num_quant_bins: int = 4) -> Tensor:
    """Round a number at random to an integer of a range.

    Args:
        name: of a ``deterministic`` site with the result; the choice is at ``Q_name``, enumerated in
            parallel.
        x_real: the number.
        min: the first of the range.
        max: the last.
        num_quant_bins: how many integers can come; for 1 it is rounded to the nearest.

    Raises:
        AssertionError: if the range is empty.
        ValueError: for a number of bins that :func:`compute_bin_probs` does not know.
    """
    _check_range(min, max)
    if num_quant_bins == 1:
        return _counted(name, x_real.detach().round())
    below = x_real.detach().floor()
    choices: Any = dist.Categorical(compute_bin_probs(x_real - below, num_quant_bins))
    chosen = sample("Q_" + name, choices, infer={"enumerate": "parallel"})
    rounded = below + chosen.type_as(x_real) - (num_quant_bins // 2 - 1)
    return _counted(name, _reflected(rounded, min, max))


def _counted(name: str, value: Tensor) -> Tensor:
    counted: Tensor = deterministic(name, value, event_dim=0)
    return counted


def quantize_enumerate(
    x_real: Tensor, min: Number, max: Number, num_quant_bins: int = 4
) -> tuple[Tensor, Tensor]:
    """All integers that :func:`quantize` can give, in a new rightmost dim, and the logarithms of their
    probabilities.

    Args:
        x_real: the number.
        min: the first of the range.
        max: the last.
        num_quant_bins: how many integers can come.

    Raises:
        AssertionError: if the range is empty.
        ValueError: for a number of bins that :func:`compute_bin_probs` does not know.
    """
    _check_range(min, max)
    below = x_real.detach().floor()
    logits = safe_log(compute_bin_probs(x_real - below, num_quant_bins))
    half = num_quant_bins // 2
    near = below.unsqueeze(-1) + torch.arange(1 - half, 1 + half, device=x_real.device)
    bounds = [b.unsqueeze(-1) if isinstance(b, Tensor) else b for b in (min, max)]
    return _reflected(near, *bounds), logits
