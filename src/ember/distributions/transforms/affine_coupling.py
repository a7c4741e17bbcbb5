"""Affine coupling layers: one part of the entries is shifted and scaled by what the other part is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.dense_nn import ConditionalDenseNN, DenseNN
from ember.distributions.shapes import sum_rightmost
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.remembering import RememberingTransform
from ember.distributions.transforms.remembering import clamp_preserve_gradients as clamp_preserve_gradients
from ember.distributions.typed_torch import independent


class AffineCoupling(RememberingTransform, TransformModule):
    """``y1 = x1``, ``y2 = exp(s) x2 + m``, with ``m`` and ``s`` of a network that sees ``x1``.

    Both ways are fast.

    Put permutations between such layers, so that all entries are changed.

    Args:
        split_dim: the size of ``x1`` along ``dim``; the rest is ``x2``.
        hypernet: a network such as :class:`~ember.nn.DenseNN`, from ``x1`` to ``m`` and ``s``, all flattened.
        dim: a negative dim, along which vectors are split; the event has ``-dim`` dims.
        log_scale_min_clip: least ``s``; gradients pass where values are clipped.
        log_scale_max_clip: greatest ``s``.

    Raises:
        ValueError: if ``dim`` is not negative.

    References:
        L. Dinh, J. Sohl-Dickstein, S. Bengio (2017), "Density estimation using Real NVP".

    >>> import torch
    >>> from ember.distributions.transforms import AffineCoupling
    >>> from ember.nn import DenseNN
    >>> flow = AffineCoupling(2, DenseNN(2, [20], param_dims=[3, 3]))
    >>> x = torch.randn(4, 5)
    >>> torch.allclose(flow.inv(flow(x).clone()), x, atol=1e-4)
    True
    """

    bijective = True

    def __init__(
        self,
        split_dim: int,
        hypernet: Callable[[Tensor], Any],
        *,
        dim: int = -1,
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
    ) -> None:
        super().__init__(cache_size=1)
        if dim >= 0:
            raise ValueError("'dim' keyword argument must be negative")
        self.split_dim = split_dim
        self.nn = hypernet
        self.dim = dim
        self.log_scale_min_clip = log_scale_min_clip
        self.log_scale_max_clip = log_scale_max_clip

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Constraint:
        """Real tensors of ``-dim`` dims."""
        return independent(constraints.real, -self.dim)  # type: ignore[no-any-return]

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Constraint:
        """Real tensors of ``-dim`` dims."""
        return independent(constraints.real, -self.dim)  # type: ignore[no-any-return]

    def _parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        first, second = value.split([self.split_dim, value.size(self.dim) - self.split_dim], dim=self.dim)  # type: ignore[no-untyped-call]
        return first, second

    def _affine(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.nn(x1.reshape((*x1.shape[: self.dim], -1)))
        shape = (*mean.shape[:-1], *x2.shape[self.dim :])
        log_scale = clamp_preserve_gradients(log_scale, self.log_scale_min_clip, self.log_scale_max_clip)
        return mean.reshape(shape), log_scale.reshape(shape)

    def _call(self, x: Tensor) -> Tensor:
        x1, x2 = self._parts(x)
        mean, log_scale = self._affine(x1, x2)
        y = torch.cat([x1, torch.exp(log_scale) * x2 + mean], dim=self.dim)
        self.remember(x, y, log_scale)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x1, y2 = self._parts(y)
        mean, log_scale = self._affine(x1, y2)
        x = torch.cat([x1, (y2 - mean) * torch.exp(-log_scale)], dim=self.dim)
        self.remember(x, y, log_scale)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the logs of the scales."""
        log_scale: Tensor | None = self.recalled(x, y)
        if log_scale is None:
            log_scale = self._affine(*self._parts(x))[1]
        return sum_rightmost(log_scale, -self.dim)  # type: ignore[no-any-return]


class ConditionalAffineCoupling(ConditionalTransformModule):
    """An :class:`AffineCoupling` layer whose network sees a context, too.

    Args:
        split_dim: the size of the part that the network sees.
        hypernet: a network such as :class:`~ember.nn.ConditionalDenseNN`.
        kwargs: further arguments of :class:`AffineCoupling`.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalAffineCoupling
    >>> from ember.nn import ConditionalDenseNN
    >>> flow = ConditionalAffineCoupling(2, ConditionalDenseNN(2, 1, [20], param_dims=[3, 3]))
    >>> flow.condition(torch.zeros(1))(torch.zeros(4, 5)).shape
    torch.Size([4, 5])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, split_dim: int, hypernet: nn.Module, **kwargs: Any) -> None:
        super().__init__()
        self.split_dim = split_dim
        self.nn = hypernet
        self.kwargs = kwargs

    def condition(self, context: Tensor) -> AffineCoupling:
        """Return the layer given a context of shape ``(..., context_dim)``."""
        return AffineCoupling(self.split_dim, partial(self.nn, context=context), **self.kwargs)


def _sizes(input_dim: int | Sequence[int], split_dim: int | None, dim: int) -> tuple[int, int, int]:
    """The size of ``x1`` along ``dim``, and how many entries ``x1`` and ``x2`` have."""
    shape = (input_dim,) if isinstance(input_dim, int) else tuple(input_dim)
    if dim >= 0:
        raise ValueError("'dim' keyword argument must be negative")
    if len(shape) != -dim:
        raise ValueError(f"event shape {input_dim} must have same length as event_dim {-dim}")
    if split_dim is None:
        split_dim = shape[dim] // 2
    if not 0 <= split_dim < shape[dim]:
        raise ValueError(f"split_dim {split_dim} must be less than the size {shape[dim]} that is split")
    rest = math.prod(shape[1:])
    return split_dim, split_dim * rest, (shape[0] - split_dim) * rest


def affine_coupling(
    input_dim: int | Sequence[int],
    hidden_dims: Sequence[int] | None = None,
    split_dim: int | None = None,
    dim: int = -1,
    **kwargs: Any,
) -> AffineCoupling:
    """Make an :class:`AffineCoupling` layer with a dense network.

    Args:
        input_dim: the length of the vectors or, if ``dim < -1``, the event shape, whose first size is split.
        hidden_dims: the sizes of hidden layers, by default one of 10 for each entry of an event.
        split_dim: the size of the part that the network sees, by default half.
        dim: a negative dim, along which vectors are split.
        kwargs: further arguments of :class:`AffineCoupling`.

    Raises:
        ValueError: if ``dim`` is not negative, the event has not ``-dim`` dims, or a part has no entry.

    >>> import torch
    >>> from ember.distributions.transforms import affine_coupling
    >>> affine_coupling(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    split_dim, first, second = _sizes(input_dim, split_dim, dim)
    hidden = [10 * (first + second)] if hidden_dims is None else hidden_dims
    return AffineCoupling(split_dim, DenseNN(first, hidden, [second, second]), dim=dim, **kwargs)


def conditional_affine_coupling(
    input_dim: int | Sequence[int],
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    split_dim: int | None = None,
    dim: int = -1,
    **kwargs: Any,
) -> ConditionalAffineCoupling:
    """Make a :class:`ConditionalAffineCoupling` layer with a dense network.

    Args:
        input_dim: the length of the vectors or, if ``dim < -1``, the event shape, whose first size is split.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default one of 10 for each entry of an event.
        split_dim: the size of the part that the network sees, by default half.
        dim: a negative dim, along which vectors are split.
        kwargs: further arguments of :class:`AffineCoupling`.

    Raises:
        ValueError: if ``dim`` is not negative, the event has not ``-dim`` dims, or a part has no entry.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_affine_coupling
    >>> flow = conditional_affine_coupling(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    split_dim, first, second = _sizes(input_dim, split_dim, dim)
    hidden = [10 * (first + second)] if hidden_dims is None else hidden_dims
    network = ConditionalDenseNN(first, context_dim, hidden, [second, second])
    return ConditionalAffineCoupling(split_dim, network, dim=dim, **kwargs)
