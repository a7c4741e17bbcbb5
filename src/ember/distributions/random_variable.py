"""A distribution as a random variable: arithmetic on it gives the distribution of the result."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from ember.distributions import transforms as t
from ember.distributions.distribution import Distribution
from ember.distributions.transformed import TransformedDistribution

Value = float | Tensor


class _Transformable:
    def transform(self, t: Any) -> Self:
        raise NotImplementedError


class RVMagicOps(_Transformable):
    """Operators between a random variable and constants."""

    def __add__(self, x: Value) -> Self:
        return self.transform(t.AffineTransform(x, 1))

    def __radd__(self, x: Value) -> Self:
        return self + x

    def __sub__(self, x: Value) -> Self:
        return self.transform(t.AffineTransform(-x, 1))

    def __rsub__(self, x: Value) -> Self:
        return self.transform(t.AffineTransform(x, -1))

    def __mul__(self, x: Value) -> Self:
        return self.transform(t.AffineTransform(0, x))

    def __rmul__(self, x: Value) -> Self:
        return self * x

    def __truediv__(self, x: Value) -> Self:
        return self.transform(t.AffineTransform(0, 1 / x))

    def __neg__(self) -> Self:
        return self.transform(t.AffineTransform(0, -1))

    def __abs__(self) -> Self:
        return self.transform(t.AbsTransform())

    def __pow__(self, x: Value) -> Self:
        return self.transform(t.PowerTransform(torch.as_tensor(x)))


class RVChainOps(RVMagicOps):
    """The same, and functions, as methods to be chained."""

    def add(self, x: Value) -> Self:
        """The sum with a constant."""
        return self + x

    def sub(self, x: Value) -> Self:
        """The difference from a constant."""
        return self - x

    def mul(self, x: Value) -> Self:
        """The product with a constant."""
        return self * x

    def div(self, x: Value) -> Self:
        """The quotient by a constant."""
        return self / x

    def abs(self) -> Self:
        """The absolute value; its density is that of both signs together, if the transform has one."""
        return self.__abs__()

    def pow(self, x: Value) -> Self:
        """A power of a positive variable."""
        return self**x

    def neg(self) -> Self:
        """The negative."""
        return -self

    def exp(self) -> Self:
        """The exponential."""
        return self.transform(t.ExpTransform())

    def log(self) -> Self:
        """The logarithm of a positive variable."""
        return self.transform(t.ExpTransform().inv)

    def sigmoid(self) -> Self:
        """The logistic function."""
        return self.transform(t.SigmoidTransform())

    def tanh(self) -> Self:
        """The hyperbolic tangent."""
        return self.transform(t.TanhTransform())

    def softmax(self) -> Self:
        """The softmax of a vector; it has no density."""
        return self.transform(t.SoftmaxTransform())


class RandomVariable(RVChainOps):
    """A random variable with a distribution; ``distribution.rv`` makes one too.

    Args:
        distribution: its law.

    >>> import ember.distributions as dist
    >>> x = RandomVariable(dist.Uniform(0.0, 1.0)).log().neg().dist  # an exponential variable
    >>> x.log_prob(dist.Exponential(1.0).mean)
    tensor(-1.)
    """

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution

    def transform(self, t: Any) -> Self:
        """The variable under a transform of distributions."""
        return type(self)(TransformedDistribution(self.distribution, t))

    @property
    def dist(self) -> Any:
        """The distribution."""
        return self.distribution


# Here, and not in the base class: what it makes stands on that class.
Distribution.rv = property(RandomVariable, doc="The distribution as a random variable.")  # type: ignore[attr-defined]
