"""The base of covariance functions, and functions made of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ember.contrib.gp.parameterized import Parameterized
from ember.nn import PyroParam


def positive(value: Tensor | None) -> Any:
    """A positive parameter that starts at a value, one if there is none."""
    return PyroParam(torch.tensor(1.0) if value is None else value, constraints.positive)


class Kernel(Parameterized):
    """A covariance function ``k(x, z)`` of some features of its inputs.

    Args:
        input_dim: how many features it takes.
        active_dims: which of those of the inputs they are; the first ones if None.

    Raises:
        ValueError: if there are another number of them.
    """

    def __init__(self, input_dim: int, active_dims: Sequence[int] | None = None) -> None:
        super().__init__()
        active = list(range(input_dim)) if active_dims is None else active_dims
        if len(active) != input_dim:
            raise ValueError("Input size and the length of active dimensionals should be equal.")
        self.input_dim = input_dim
        self.active_dims = active

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """The covariances of N inputs and M others.

        Args:
            X: of shape (N, features), or (N,) for one feature.
            Z: of shape (M, features); ``X`` if None.
            diag: only those of each input with itself, (N,).
        """
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define forward")

    def _slice_input(self, X: Tensor) -> Tensor:
        if X.dim() == 2:
            return X[:, self.active_dims]
        if X.dim() == 1:
            return X.unsqueeze(1)
        raise ValueError("Input X must be either 1 or 2 dimensional.")

    def _slice_both(self, X: Tensor, Z: Tensor | None) -> tuple[Tensor, Tensor]:
        X_sliced = self._slice_input(X)
        Z_sliced = X_sliced if Z is None else self._slice_input(Z)
        if X_sliced.size(1) != Z_sliced.size(1):
            raise ValueError("Inputs must have the same number of features.")
        return X_sliced, Z_sliced


class Combination(Kernel):
    """A kernel made of two; it acts on the features of both.

    Args:
        kern0: a kernel.
        kern1: a kernel or a number.

    Raises:
        TypeError: for other things.
    """

    def __init__(self, kern0: Kernel, kern1: Kernel | float) -> None:
        if not isinstance(kern0, Kernel):
            raise TypeError("The first component of a combined kernel must be a Kernel instance.")
        if not isinstance(kern1, Kernel | Number):
            raise TypeError(
                "The second component of a combined kernel must be a Kernel instance or a number."
            )
        active = set(kern0.active_dims)
        if isinstance(kern1, Kernel):
            active |= set(kern1.active_dims)
        super().__init__(len(active), sorted(active))
        self.kern0 = kern0
        self.kern1 = kern1

    def _second(self, X: Tensor, Z: Tensor | None, diag: bool) -> Any:
        return self.kern1(X, Z, diag=diag) if isinstance(self.kern1, Kernel) else self.kern1


class Sum(Combination):
    """The sum of two kernels, or of a kernel and a number."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        out: Tensor = self.kern0(X, Z, diag=diag) + self._second(X, Z, diag)
        return out


class Product(Combination):
    """The product of two kernels, or of a kernel and a number."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        out: Tensor = self.kern0(X, Z, diag=diag) * self._second(X, Z, diag)
        return out


class Transforming(Kernel):
    """A kernel made of one other.

    Args:
        kern: the other.
    """

    def __init__(self, kern: Kernel) -> None:
        super().__init__(kern.input_dim, kern.active_dims)
        self.kern = kern


class Exponent(Transforming):
    """``exp(k(x, z))``."""

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        out: Tensor = self.kern(X, Z, diag=diag).exp()
        return out


class VerticalScaling(Transforming):
    """``f(x) k(x, z) f(z)``.

    Args:
        kern: the kernel.
        vscaling_fn: the function ``f`` of all inputs.
    """

    def __init__(self, kern: Kernel, vscaling_fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__(kern)
        self.vscaling_fn = vscaling_fn

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        scale = self.vscaling_fn(X)
        covariance: Tensor = self.kern(X, Z, diag=diag)
        if diag:
            return scale * covariance * scale
        other = scale if Z is None else self.vscaling_fn(Z)
        return scale.unsqueeze(1) * covariance * other.unsqueeze(0)


class Warping(Transforming):
    """``q(k(f(x), f(z)))``; with a network as ``f``, deep kernel learning (A. G. Wilson and others, 2016).

    Args:
        kern: the kernel.
        iwarping_fn: the function ``f``; the identity if None.
        owarping_coef: the coefficients of the polynomial ``q``, integers that are not negative, from that of
            the constant on; the identity if None.
    """

    def __init__(
        self,
        kern: Kernel,
        iwarping_fn: Callable[[Tensor], Tensor] | None = None,
        owarping_coef: Sequence[float] | None = None,
    ) -> None:
        super().__init__(kern)
        self.iwarping_fn = iwarping_fn
        self.owarping_coef = owarping_coef

    def forward(self, X: Tensor, Z: Tensor | None = None, diag: bool = False) -> Tensor:
        """Covariances: as in :meth:`Kernel.forward`."""
        if self.iwarping_fn is not None:
            X = self.iwarping_fn(X)
            Z = None if Z is None else self.iwarping_fn(Z)
        covariance: Tensor = self.kern(X, Z, diag=diag)
        return covariance if self.owarping_coef is None else _polynomial(covariance, self.owarping_coef)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    value = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value
