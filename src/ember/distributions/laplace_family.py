"""Relatives of the Laplace distribution: asymmetric, smooth, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.elementwise import ElementwiseDistribution


class _TwoSided(ElementwiseDistribution):
    """A location, and exponential tails of a scale on each side."""

    loc: Tensor
    scale: Tensor
    asymmetry: Tensor
    support = constraints.real
    has_rsample = True

    @property
    def left_scale(self) -> Tensor:
        """The scale of the left tail."""
        return self.scale * self.asymmetry

    @property
    def right_scale(self) -> Tensor:
        """The scale of the right tail."""
        return self.scale / self.asymmetry

    def _draw_tails(self, shape: Size) -> Tensor:
        tails = torch.empty((2, *shape), dtype=self.loc.dtype, device=self.loc.device).exponential_()
        return self.right_scale * tails[1] - self.left_scale * tails[0]

    @property
    def mean(self) -> Tensor:
        """The location and the difference of the two scales."""
        return self.loc + self.right_scale - self.left_scale

    @property
    def variance(self) -> Tensor:
        """The sum of the variances of both tails."""
        return self.left_scale.square() + self.right_scale.square()


class AsymmetricLaplace(_TwoSided):
    """Laplace distribution with tails of different scales; the difference of two exponential variables.

    Args:
        loc: the mode.
        scale: the geometric mean of both scales.
        asymmetry: the square root of the ratio of the left scale to the right one.

    >>> import torch
    >>> from ember.distributions import AsymmetricLaplace
    >>> AsymmetricLaplace(0.0, 1.0, 2.0).log_prob(torch.tensor(0.0)).exp()
    tensor(0.4000)
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
    }
    _tensors = ("loc", "scale", "asymmetry")

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        asymmetry: Tensor | float,
        *,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, asymmetry, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-|value - loc| / s - log(left + right)``, with ``s`` the scale of the side."""
        if self._validate_args:
            self._validate_sample(value)
        z = value - self.loc
        side = torch.where(z < 0, self.left_scale, self.right_scale)
        return -z.abs() / side - (self.left_scale + self.right_scale).log()

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw two exponential variables."""
        return self.loc + self._draw_tails(self._extended_shape(Size(sample_shape)))


class SoftAsymmetricLaplace(_TwoSided):
    """The sum of a normal and an :class:`AsymmetricLaplace` variable.

    It has a smooth density with exponential tails.

    Args:
        loc: the location.
        scale: the geometric mean of both tails' scales.
        asymmetry: the square root of the ratio of the left scale to the right one.
        softness: the normal variable's standard deviation, in units of ``scale``.

    >>> from ember.distributions import SoftAsymmetricLaplace
    >>> SoftAsymmetricLaplace(0.0, 1.0).variance
    tensor(3.)
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
        "softness": constraints.positive,
    }
    softness: Tensor
    _tensors = ("loc", "scale", "asymmetry", "softness")

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        asymmetry: Tensor | float = 1.0,
        softness: Tensor | float = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, asymmetry, softness, validate_args=validate_args)

    @property
    def soft_scale(self) -> Tensor:
        """The standard deviation of the normal part."""
        return self.scale * self.softness

    def log_prob(self, value: Tensor) -> Tensor:
        """The convolution in closed form.

        It is ``exp(s^2 / 2 - s u) Phi(u - s)`` for each tail, ``s`` the ratio of scales.
        """
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.soft_scale
        tails = [
            ratio.square() / 2 - ratio * x + torch.special.log_ndtr(x - ratio)
            for x, ratio in (
                (-z, self.soft_scale / self.left_scale),
                (z, self.soft_scale / self.right_scale),
            )
        ]
        return torch.logaddexp(tails[0], tails[1]) - (self.left_scale + self.right_scale).log()

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a normal and two exponential variables."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.soft_scale * noise + self._draw_tails(shape)

    @property
    def variance(self) -> Tensor:
        """The sum of the variances of the parts."""
        return super().variance + self.soft_scale.square()


class _DrawnByInverse(ElementwiseDistribution):
    """A location and a scale on the real line, drawn by the inverse of the distribution function."""

    support = constraints.real
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw by the inverse of the distribution function."""
        shape = self._extended_shape(Size(sample_shape))
        return self.icdf(_open_unit(torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)))


class _LocationScale(_DrawnByInverse):
    """Symmetric about its location."""

    arg_constraints: dict[str, Any] = {"loc": constraints.real, "scale": constraints.positive}
    _tensors = ("loc", "scale")

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(loc, scale, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The location."""
        return self.loc


class SoftLaplace(_LocationScale):
    """The hyperbolic secant distribution: smooth, with tails like Laplace's.

    Args:
        loc: the location.
        scale: the scale of the tails.

    >>> import torch
    >>> from ember.distributions import SoftLaplace
    >>> SoftLaplace(0.0, 1.0).cdf(torch.tensor(0.0))
    tensor(0.5000)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(2 / pi) - log(scale) - log(exp(z) + exp(-z))``, with ``z = (value - loc) / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return math.log(2 / math.pi) - self.scale.log() - torch.logaddexp(z, -z)

    def cdf(self, value: Tensor) -> Tensor:
        """``2 / pi atan(exp(z))``"""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).exp().atan() * (2 / math.pi)

    def icdf(self, value: Tensor) -> Tensor:
        """``loc + scale log(tan(pi value / 2))``"""
        return (value * (math.pi / 2)).tan().log() * self.scale + self.loc

    @property
    def variance(self) -> Tensor:
        """``(pi scale / 2)^2``"""
        return (math.pi / 2 * self.scale).square()


class Logistic(_LocationScale):
    """Logistic distribution: its distribution function is the sigmoid.

    Args:
        loc: the mean and median.
        scale: positive; the standard deviation is ``pi / sqrt(3)`` times this.

    >>> import torch
    >>> from ember.distributions import Logistic
    >>> Logistic(0.0, 1.0).log_prob(torch.tensor(0.0)).exp()
    tensor(0.2500)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """``2 log sigmoid(z) - z - log(scale)``"""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return 2 * torch.nn.functional.logsigmoid(z) - z - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """``sigmoid(z)``"""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).sigmoid()

    def icdf(self, value: Tensor) -> Tensor:
        """``loc + scale logit(value)``"""
        return self.loc + self.scale * value.logit()

    @property
    def variance(self) -> Tensor:
        """``(pi scale)^2 / 3``"""
        return self.scale.square() * (math.pi**2 / 3)

    def entropy(self) -> Tensor:
        """``log(scale) + 2``"""
        return self.scale.log() + 2


class SkewLogistic(_DrawnByInverse):
    """Generalised logistic distribution of type I: its distribution function is a power of the sigmoid.

    Args:
        asymmetry: that power: above 1 skews to the right, below to the left.

    >>> import torch
    >>> from ember.distributions import SkewLogistic
    >>> SkewLogistic(0.0, 1.0, 2.0).cdf(torch.tensor(0.0))
    tensor(0.2500)
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
    }
    asymmetry: Tensor
    _tensors = ("loc", "scale", "asymmetry")

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        asymmetry: Tensor | float = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, asymmetry, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(a) + (a + 1) log sigmoid(z) - z - log(scale)``"""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        a = self.asymmetry
        return a.log() + (a + 1) * torch.nn.functional.logsigmoid(z) - z - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """``sigmoid(z) ** a``"""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).sigmoid().pow(self.asymmetry)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the inverse of :meth:`cdf`."""
        # logit(v ** (1 / a)) from log v: precise where the power rounds to 1.
        log_power = value.log() / self.asymmetry
        return self.loc + self.scale * (log_power - (-torch.expm1(log_power)).log())


def _open_unit(u: Tensor) -> Tensor:
    # A uniform draw can be exactly 0, whose quantile is infinite.
    return u.clamp(min=torch.finfo(u.dtype).tiny)
