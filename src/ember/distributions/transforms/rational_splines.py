"""Monotone rational splines on an interval, and the identity outside of it.

References:
    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios (2019), "Neural Spline Flows" (quadratic over quadratic).
    H. M. Dolatabadi, S. Erfani, C. Leckie (2020), "Invertible Generative Modeling using Linear Rational Splines".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

# Bins are no narrower, and slopes at knots no smaller; lambdas stay away from both ends of a bin.
MIN_BIN = 1e-3
MIN_SLOPE = 1e-3
MIN_LAMBDA = 0.025


class Knots(NamedTuple):
    """A spline for each entry of a batch.

    Shapes: ``(..., bins + 1)``, and ``(..., bins)`` for ``lambdas``.
    """

    x: Tensor
    y: Tensor
    slope: Tensor
    lambdas: Tensor | None
    """Where the two pieces of a bin meet, as a part of its width; None for quadratic splines."""


class Bin(NamedTuple):
    """The bins that values lie in, one for each value."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    """The slope at the left end."""
    right: Tensor
    lambdas: Tensor | None


def knots(widths: Tensor, heights: Tensor, slopes: Tensor, lambdas: Tensor | None, bound: float) -> Knots:
    """The knots of a spline from ``(-bound, -bound)`` to ``(bound, bound)``.

    Args:
        widths: as parts of the whole, which sum to one.
        heights: as parts of the whole, which sum to one.
        slopes: positive, at the knots between bins; at both ends the slope is 0.999.
        lambdas: see :class:`Knots`, between zero and one.
        bound: half the width of the interval.

    Shapes: ``slopes`` is ``(..., bins - 1)``, the others are ``(..., bins)``.
    """
    # A thousandth less than that of the identity outside: Pyro's, so that programs with one seed agree.
    slopes = pad(MIN_SLOPE + slopes, (1, 1), value=1.0 - MIN_SLOPE)
    if lambdas is not None:
        lambdas = (1 - 2 * MIN_LAMBDA) * lambdas + MIN_LAMBDA
    return Knots(_positions(widths, bound), _positions(heights, bound), slopes, lambdas)


def _positions(parts: Tensor, bound: float) -> Tensor:
    parts = MIN_BIN + (1 - MIN_BIN * parts.size(-1)) * parts
    inner = 2 * bound * parts[..., :-1].cumsum(-1) - bound
    return pad(pad(inner, (1, 0), value=-bound), (0, 1), value=bound)  # the ends are exact


def _bins(spline: Knots, ends: Tensor, values: Tensor) -> Bin:
    """The bins whose ends values are between; a value outside of all is put into the first."""
    index = (values.unsqueeze(-1) >= ends[..., 1:-1]).sum(-1, keepdim=True)

    def at(of_knots: Tensor, offset: int = 0) -> Tensor:
        shape = torch.broadcast_shapes(of_knots.shape[:-1], index.shape[:-1])  # type: ignore[no-untyped-call]
        table = of_knots.expand((*shape, of_knots.size(-1)))
        return table.gather(-1, index.expand((*shape, 1)) + offset).squeeze(-1)

    x, y = at(spline.x), at(spline.y)
    lambdas = None if spline.lambdas is None else at(spline.lambdas)
    return Bin(x, y, at(spline.x, 1) - x, at(spline.y, 1) - y, at(spline.slope), at(spline.slope, 1), lambdas)


def spline_value(spline: Knots, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """The spline at ``x``, and the logs of its slopes there."""
    inside = (x >= -bound) & (x <= bound)
    bins = _bins(spline, spline.x, x.clamp(-bound, bound))
    part = (x.clamp(-bound, bound) - bins.x) / bins.width
    y, log_slope = _quadratic(bins, part) if bins.lambdas is None else _linear(bins, bins.lambdas, part)
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)


def spline_inverse(spline: Knots, y: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Where the spline is ``y``, and the logs of its slopes there."""
    inside = (y >= -bound) & (y <= bound)
    bins = _bins(spline, spline.y, y.clamp(-bound, bound))
    up = y.clamp(-bound, bound) - bins.y
    if bins.lambdas is None:
        part = _quadratic_part(bins, up)
        log_slope = _quadratic(bins, part)[1]
    else:
        part = _linear_part(bins, bins.lambdas, up)
        log_slope = _linear(bins, bins.lambdas, part)[1]
    return torch.where(inside, bins.x + part * bins.width, y), torch.where(inside, log_slope, 0.0)


def _quadratic(bins: Bin, part: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 4 and 5 of Durkan et al.; ``part`` of the width of the bin lies to the left."""
    mean = bins.height / bins.width
    rest = part * (1 - part)
    below = mean + (bins.left + bins.right - 2 * mean) * rest
    y = bins.y + bins.height * (mean * part.square() + bins.left * rest) / below
    above = bins.right * part.square() + 2 * mean * rest + bins.left * (1 - part).square()
    return y, 2 * mean.log() + above.log() - 2 * below.log()


def _quadratic_part(bins: Bin, up: Tensor) -> Tensor:
    """The root between zero and one of equations 6 to 8 of Durkan et al., in the form that loses no digits."""
    mean = bins.height / bins.width
    bend = up * (bins.left + bins.right - 2 * mean)
    a = bins.height * (mean - bins.left) + bend
    b = bins.height * bins.left - bend
    c = -mean * up
    return -2 * c / (b + (b.square() - 4 * a * c).clamp(min=0).sqrt())


class _Pieces(NamedTuple):
    """The two pieces of a linear bin: weights at its ends and where they meet, and the height there."""

    right_weight: Tensor
    """At the left end it is one."""
    middle_weight: Tensor
    middle: Tensor
    """Above the left end."""


def _pieces(bins: Bin, lambdas: Tensor) -> _Pieces:
    """Algorithm 1 of Dolatabadi et al."""
    weight = (bins.left / bins.right).sqrt()
    middle_weight = (lambdas * bins.left + (1 - lambdas) * weight * bins.right) * bins.width / bins.height
    middle = (lambdas * weight * bins.height) / ((1 - lambdas) + lambdas * weight)
    return _Pieces(weight, middle_weight, middle)


def _linear(bins: Bin, lambdas: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    weight, middle_weight, middle = _pieces(bins, lambdas)
    first = part <= lambdas
    # Each piece is a mean of the heights at its ends, with weights that change linearly.
    start = torch.where(first, lambdas - part, weight * (part - lambdas))
    end = middle_weight * torch.where(first, part, 1 - part)
    total = start + end
    up = (end * middle + start * torch.where(first, torch.zeros_like(part), bins.height)) / total
    rise = torch.where(first, lambdas * middle, weight * (1 - lambdas) * (bins.height - middle))
    log_slope = (middle_weight * rise).log() - 2 * total.log() - bins.width.log()
    return bins.y + up, log_slope


def _linear_part(bins: Bin, lambdas: Tensor, up: Tensor) -> Tensor:
    weight, middle_weight, middle = _pieces(bins, lambdas)
    first = up <= middle
    before = lambdas * up / (up + middle_weight * (middle - up))
    down, fall = bins.height - up, up - middle
    after = (middle_weight * fall + lambdas * weight * down) / (middle_weight * fall + weight * down)
    return torch.where(first, before, after)
