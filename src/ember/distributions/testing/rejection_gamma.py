"""Gamma variables by rejection from a cube of normal ones, and what is made of them.

G. Marsaglia and W. W. Tsang (2000), *A simple method for generating gamma variables*; C. A. Naesseth,
F. J. R. Ruiz, S. W. Linderman and D. M. Blei (2017), *Reparameterization gradients through
acceptance-rejection sampling algorithms*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.rejector import Rejector
from ember.distributions.score_parts import ScoreParts
from ember.distributions.torch import Beta, Dirichlet, Gamma


class _Cube:
    """The proposal: ``d (1 + c x)^3`` of a normal ``x``."""

    def __init__(self, d: Tensor, c: Tensor) -> None:
        self.d, self.c = d, c
        self.batch_shape, self.event_shape = d.shape, Size()

    def __call__(self, sample_shape: Sequence[int] = Size(), *, generator: Any = None) -> Tensor:
        shape = Size(sample_shape) + self.batch_shape
        x = torch.randn(shape, dtype=self.d.dtype, device=self.d.device, generator=generator)
        # A negative one is accepted with probability zero.
        return self.d * (1.0 + self.c * x).pow(3)

    def log_prob(self, value: Tensor) -> Tensor:
        root = (value / self.d).pow(1.0 / 3.0)
        x = (root - 1.0) / self.c
        scale = self.d.log() + (3.0 * root * root).log() + self.c.log()
        return -0.5 * x * x - 0.5 * math.log(2.0 * math.pi) - scale


class RejectionStandardGamma(Rejector):
    """A gamma variable of rate one.

    Args:
        concentration: at least 1.
    """

    arg_constraints: dict[str, Any] = {"concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, concentration: Tensor) -> None:
        self.concentration = concentration
        self._standard_gamma: Any = Gamma(concentration, torch.ones_like(concentration))
        d = concentration - 1.0 / 3.0
        c = 1.0 / (9.0 * d).sqrt()
        # What proposal and acceptance have more than the density: the same at every value.
        log_scale = torch.lgamma(concentration) + d - (d + 1.0 / 3.0) * d.log()
        log_scale = log_scale - (3.0 * c).log() - 0.5 * math.log(2.0 * math.pi)
        super().__init__(_Cube(d, c), self._accept, log_scale)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same for a larger batch."""
        return type(self)(self.concentration.expand(Size(batch_shape)))

    def _accept(self, value: Tensor) -> Tensor:
        d, c = self.propose.d, self.propose.c
        v = value / d
        x = (v.sign() * v.abs().pow(1.0 / 3.0) - 1.0) / c
        log_accept = 0.5 * x * x + d - value + d * v.clamp(min=1e-30).log()
        return torch.where(value > 0, log_accept, torch.full_like(log_accept, -math.inf))

    def log_prob(self, x: Tensor) -> Tensor:
        """The density itself, which is known."""
        log_prob: Tensor = self._standard_gamma.log_prob(x)
        return log_prob


class RejectionGamma(Gamma):
    """A gamma variable with the gradients of rejection sampling.

    Args:
        concentration: at least 1.
        rate: the rate.
    """

    has_rsample = True

    def __init__(self, concentration: Tensor, rate: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(concentration, rate, validate_args=validate_args)
        self._standard_gamma = RejectionStandardGamma(self.concentration)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same for a larger batch."""
        shape = Size(batch_shape)
        return type(self)(self.concentration.expand(shape), self.rate.expand(shape), validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = Size(), *, generator: Any = None) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape``."""
        return self._standard_gamma.rsample(sample_shape, generator=generator) / self.rate

    def log_prob(self, x: Tensor) -> Tensor:
        """The density."""
        return self._standard_gamma.log_prob(x * self.rate) + torch.log(self.rate)

    def score_parts(self, x: Tensor) -> ScoreParts:
        """The density, and the score function of the acceptance."""
        log_pdf = self.log_prob(x)
        _, score_function, _ = self._standard_gamma.score_parts(x * self.rate)
        return ScoreParts(log_pdf, score_function, log_pdf)


class ShapeAugmentedGamma(Gamma):
    """A gamma variable of any concentration: one of a higher concentration, times powers of uniform ones.

    Args:
        concentration: positive.
        rate: the rate.
        boost: how much higher the concentration is that is drawn from; the more, the fewer are rejected.
    """

    has_rsample = True

    def __init__(
        self, concentration: Tensor, rate: Tensor, boost: int = 1, validate_args: bool | None = None
    ) -> None:
        if not bool((concentration + boost >= 1).all()):
            raise ValueError(
                f"Need to boost at least once for concentration < 1: boost={boost}, concentration={concentration}"
            )
        super().__init__(concentration, rate, validate_args=validate_args)
        self._boost = boost
        self._rejection_gamma = RejectionGamma(self.concentration + boost, self.rate)
        self._unboost_x_cache: tuple[Tensor, Tensor] | None = None

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same for a larger batch."""
        shape = Size(batch_shape)
        concentration, rate = self.concentration.expand(shape), self.rate.expand(shape)
        return type(self)(concentration, rate, boost=self._boost, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = Size(), *, generator: Any = None) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape``; the last ones are remembered for their score."""
        before = self._rejection_gamma.rsample(sample_shape, generator=generator)
        x = before
        for step in range(self._boost):
            u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
            x = x * (1.0 - u).pow(1.0 / (step + self.concentration))
        self._unboost_x_cache = x, before
        return x

    def score_parts(self, boosted_x: Tensor | None = None) -> ScoreParts:
        """The density, and the score function of the acceptance of what was drawn.

        Args:
            boosted_x: what was drawn last; that is the default.

        Raises:
            AssertionError: for other values than the last draws.
        """
        known = self._unboost_x_cache
        assert known is not None and (boosted_x is None or boosted_x is known[0]), (
            "score_parts is known for the last draws only"
        )
        _, score_function, _ = self._rejection_gamma.score_parts(known[1])
        log_pdf = Gamma.log_prob(self, known[0])  # type: ignore[no-untyped-call]
        return ScoreParts(log_pdf, score_function, log_pdf)


class ShapeAugmentedDirichlet(Dirichlet):
    """Variables of :class:`ShapeAugmentedGamma` over their sum."""

    def __init__(self, concentration: Tensor, boost: int = 1, validate_args: bool | None = None) -> None:
        super().__init__(concentration, validate_args=validate_args)
        self._gamma = ShapeAugmentedGamma(concentration, torch.ones_like(concentration), boost)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same for a larger batch."""
        concentration = self.concentration.expand(Size(batch_shape) + self.event_shape)
        return type(self)(concentration, boost=self._gamma._boost, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = Size(), *, generator: Any = None) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape + event_shape``."""
        gammas = self._gamma.rsample(sample_shape, generator=generator)
        return gammas / gammas.sum(-1, True)


class ShapeAugmentedBeta(Beta):
    """The first of two variables of :class:`ShapeAugmentedGamma` over their sum."""

    def __init__(
        self,
        concentration1: Tensor,
        concentration0: Tensor,
        boost: int = 1,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(concentration1, concentration0, validate_args=validate_args)
        both = torch.stack([concentration1, concentration0], dim=-1)
        self._gamma = ShapeAugmentedGamma(both, torch.ones_like(both), boost)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same for a larger batch."""
        first, second = (c.expand(Size(batch_shape)) for c in (self.concentration1, self.concentration0))
        return type(self)(first, second, boost=self._gamma._boost, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = Size(), *, generator: Any = None) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape``."""
        gammas = self._gamma.rsample(sample_shape, generator=generator)
        return gammas[..., 0] / gammas.sum(-1)
