"""Stable distributions: sums of them are stable again, and most have no density in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.elementwise import ElementwiseDistribution
from ember.distributions.stable_log_prob import standard_stable_log_prob

_HALF_PI = math.pi / 2
#: The formula has a pole at stability 1; nearer than this, draws are interpolated.
RADIUS = 0.01


def standard_stable_off_one(
    stability: Tensor, skew: Tensor | float, uniform: Tensor, exponential: Tensor, coords: str
) -> Tensor:
    """A standard stable variable from an angle and a waiting time, for stabilities away from 1.

    Args:
        stability: in (0, 2], not near 1.
        skew: in [-1, 1], a tensor or a number.
        uniform: angles, uniform on (-pi/2, pi/2).
        exponential: waiting times of rate 1.
        coords: ``"S0"``, continuous in all parameters, or ``"S"``.

    Raises:
        ValueError: for other coords.

    References:
        J. M. Chambers, C. L. Mallows, B. W. Stuck (1976), "A method for simulating stable random variables";
        R. Weron (1996), "On the Chambers-Mallows-Stuck method for simulating skewed stable random variables".
    """
    if coords not in ("S", "S0"):
        raise ValueError(f"Unknown coords: {coords}")
    eps = torch.finfo(uniform.dtype).eps
    angle = uniform.clamp(min=2 * eps - _HALF_PI, max=_HALF_PI - 2 * eps)
    b = skew * (_HALF_PI * stability).tan()
    # stability * angle + atan(b), arranged so as to be precise near the lower end.
    turned = b.atan() - _HALF_PI * stability + stability * (angle + _HALF_PI)
    inverse = stability.reciprocal()
    first = turned.sin() / (angle.cos() / (1 + b * b).sqrt()).pow(inverse)
    second = ((turned - angle).cos().clamp(min=eps) / exponential).pow(inverse - 1)
    draw = first * second
    draw = torch.where(draw.isnan(), torch.zeros_like(draw), draw)  # 0 times infinity, rarely
    return draw - b if coords == "S0" else draw


def standard_stable(
    stability: Tensor, skew: Tensor, uniform: Tensor, exponential: Tensor, coords: str
) -> Tensor:
    """As :func:`standard_stable_off_one` for all stabilities: near 1, a line through the draws on both sides."""
    if coords == "S":
        # Only S0 can be interpolated. At stability 1 the two coincide.
        draw = standard_stable(stability, skew, uniform, exponential, "S0")
        at_one = stability == 1
        elsewhere = torch.where(at_one, 0.5, stability)
        return torch.where(at_one, draw, draw + skew * (_HALF_PI * elsewhere).tan())
    near = (stability.detach() - 1).abs() <= RADIUS
    # No look at the values: away from 1 both sides are the same, with weights of one half.
    draws = [
        standard_stable_off_one(torch.where(near, 1 + side, stability), skew, uniform, exponential, coords)
        for side in (-RADIUS, RADIUS)
    ]
    upper = torch.where(near, (stability.detach() - 1 + RADIUS) / (2 * RADIUS), 0.5)
    return draws[0] * (1 - upper) + draws[1] * upper


class Stable(ElementwiseDistribution):
    """Levy's alpha-stable distribution, in Nolan's continuous parameters.

    Draws are pathwise differentiable. ``log_prob`` integrates numerically and is slow: for inference, use
    ``poutine.reparam`` with ``LatentStableReparam``, ``SymmetricStableReparam`` or ``StableReparam``, or the
    strategy ``MinimalReparam``.

    Args:
        stability: in (0, 2]; 2 is a normal distribution of scale ``sqrt(2) * scale``, 1 without skew a Cauchy
            distribution.
        skew: in [-1, 1].
        scale: positive.
        loc: the location in ``coords``.
        coords: ``"S0"``, or ``"S"`` as scipy has by default, which jumps at stability 1.

    References:
        J. P. Nolan (1997), "Numerical calculation of stable densities and distribution functions"; for draws
        see :func:`standard_stable_off_one`.

    >>> import torch
    >>> from ember.distributions import Stable
    >>> Stable(torch.tensor([2.0, 1.5]), 0.0).variance
    tensor([2., inf])
    """

    arg_constraints: dict[str, Any] = {
        "stability": constraints.interval(0, 2),  # type: ignore[no-untyped-call]
        "skew": constraints.interval(-1, 1),  # type: ignore[no-untyped-call]
        "scale": constraints.positive,
        "loc": constraints.real,
    }
    support = constraints.real
    has_rsample = True
    stability: Tensor
    skew: Tensor
    scale: Tensor
    loc: Tensor
    _tensors = ("stability", "skew", "scale", "loc")
    _settings = ("coords",)

    def __init__(
        self,
        stability: Tensor | float,
        skew: Tensor | float,
        scale: Tensor | float = 1.0,
        loc: Tensor | float = 0.0,
        coords: str = "S0",
        validate_args: bool | None = None,
    ) -> None:
        assert coords in ("S", "S0"), coords
        self.coords = coords
        super().__init__(stability, skew, scale, loc, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density by numerical integration in double precision.

        See :mod:`ember.distributions.stable_log_prob`.
        """
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        standard = standard_stable_log_prob(self.stability, self.skew, z, self.coords)
        return standard.to(z.dtype) - self.scale.log()

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw by the method of Chambers, Mallows and Stuck."""
        shape = self._extended_shape(Size(sample_shape))
        like: dict[str, Any] = {"dtype": self.loc.dtype, "device": self.loc.device}
        uniform = (torch.rand(shape, **like) - 0.5) * math.pi
        exponential = torch.empty(shape, **like).exponential_()
        return self.loc + self.scale * standard_stable(
            self.stability, self.skew, uniform, exponential, self.coords
        )

    @property
    def mean(self) -> Tensor:
        """NaN for stabilities of 1 and less."""
        mean = self.loc
        if self.coords == "S0":
            mean = mean - self.scale * self.skew * (_HALF_PI * self.stability).tan()
        return mean.masked_fill(self.stability <= 1, math.nan)

    @property
    def variance(self) -> Tensor:
        """Infinite for stabilities less than 2."""
        return (2 * self.scale.square()).masked_fill(self.stability < 2, math.inf)


class StableWithLogProb(Stable):
    """:class:`Stable`, which strategies leave alone: its numerical density is to be used.

    >>> import torch
    >>> from ember.distributions import StableWithLogProb
    >>> StableWithLogProb(2.0, 0.0).log_prob(torch.tensor(1.0))
    tensor(-1.5155)
    """
