"""Elementwise activations as transforms."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import TanhTransform

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import greater_than

_SLOPE = 0.01


class ELUTransform(CopyableTransform):
    """``y = x`` for positive ``x``, ``exp(x) - 1`` otherwise.

    >>> import torch
    >>> from ember.distributions.transforms import ELUTransform
    >>> ELUTransform()(torch.tensor([0.0, 2.0]))
    tensor([0., 2.])
    """

    domain = constraints.real
    codomain = greater_than(-1.0)
    bijective = True
    sign = +1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ELUTransform)

    def _call(self, x: Tensor) -> Tensor:
        return F.elu(x)

    def _inverse(self, y: Tensor) -> Tensor:
        # Clamping keeps the branch that is not chosen, and its gradient, finite.
        tiny = torch.finfo(y.dtype).eps
        return torch.where(y > 0, y, y.clamp(min=-1 + tiny, max=0).log1p())

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``min(x, 0)``."""
        return x.clamp(max=0)


class LeakyReLUTransform(CopyableTransform):
    """``y = x`` for positive ``x``, ``x / 100`` otherwise.

    >>> import torch
    >>> from ember.distributions.transforms import LeakyReLUTransform
    >>> LeakyReLUTransform()(torch.tensor([-1.0, 2.0]))
    tensor([-0.0100,  2.0000])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LeakyReLUTransform)

    def _call(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, _SLOPE)

    def _inverse(self, y: Tensor) -> Tensor:
        return F.leaky_relu(y, 1 / _SLOPE)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """0 for positive ``x``, the log of the slope otherwise."""
        zero = torch.zeros_like(x)
        return torch.where(x >= 0, zero, zero + math.log(_SLOPE))


def elu() -> ELUTransform:
    """Make an :class:`ELUTransform`.

    >>> import torch
    >>> from ember.distributions.transforms import elu
    >>> elu()(torch.zeros(2)).shape
    torch.Size([2])
    """
    return ELUTransform()


def leaky_relu() -> LeakyReLUTransform:
    """Make a :class:`LeakyReLUTransform`.

    >>> import torch
    >>> from ember.distributions.transforms import leaky_relu
    >>> leaky_relu()(torch.zeros(2)).shape
    torch.Size([2])
    """
    return LeakyReLUTransform()


def tanh() -> Any:
    """Make a :class:`torch.distributions.transforms.TanhTransform`.

    >>> import torch
    >>> from ember.distributions.transforms import tanh
    >>> tanh()(torch.zeros(2)).shape
    torch.Size([2])
    """
    return TanhTransform()
