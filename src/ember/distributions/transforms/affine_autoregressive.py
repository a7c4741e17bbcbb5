"""Affine autoregressive flows: each entry is shifted and scaled by what is before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.auto_reg_nn import AutoRegressiveNN, ConditionalAutoRegressiveNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.remembering import RememberingTransform, entry_by_entry
from ember.distributions.transforms.remembering import clamp_preserve_gradients as clamp_preserve_gradients


class AffineAutoregressive(RememberingTransform, TransformModule):
    """``y_i = exp(s_i) x_i + m_i``, with ``s_i`` and ``m_i`` of a network that sees the ``x`` before it.

    From ``x`` to ``y`` takes one pass of the network, back takes one for each entry: it suits guides. For the
    density of observed values, use its ``inv``.

    Args:
        autoregressive_nn: a network such as :class:`~ember.nn.AutoRegressiveNN`, that returns ``m`` and
            ``s``.
        log_scale_min_clip: least ``s``; gradients pass where values are clipped.
        log_scale_max_clip: greatest ``s``.
        sigmoid_bias: is added to ``s`` before the sigmoid, if ``stable``.
        stable: use ``y_i = c_i x_i + (1 - c_i) m_i`` with ``c_i = sigmoid(s_i + sigmoid_bias)`` instead.

    Shapes:
        x, y: ``(..., n)``.

    References:
        D. P. Kingma, T. Salimans, R. Jozefowicz, X. Chen, I. Sutskever, M. Welling (2016), "Improving
        Variational Inference with Inverse Autoregressive Flow".
        G. Papamakarios, T. Pavlakou, I. Murray (2017), "Masked Autoregressive Flow for Density Estimation".

    >>> import torch
    >>> from ember.distributions.transforms import AffineAutoregressive
    >>> from ember.nn import AutoRegressiveNN
    >>> flow = AffineAutoregressive(AutoRegressiveNN(3, [20]))
    >>> x = torch.randn(5, 3)
    >>> torch.allclose(flow.inv(flow(x).clone()), x, atol=1e-4)
    True
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    sign = +1
    autoregressive = True

    def __init__(
        self,
        autoregressive_nn: Callable[[Tensor], Any],
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
        sigmoid_bias: float = 2.0,
        stable: bool = False,
    ) -> None:
        super().__init__(cache_size=1)
        self.arn = autoregressive_nn
        self.log_scale_min_clip = log_scale_min_clip
        self.log_scale_max_clip = log_scale_max_clip
        self.sigmoid_bias = sigmoid_bias
        self.stable = stable

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The shift and the log of the scale of each entry."""
        mean, log_scale = self.arn(x)
        if self.stable:
            log_scale = F.logsigmoid(log_scale + self.sigmoid_bias)
            return -torch.expm1(log_scale) * mean, log_scale
        return mean, clamp_preserve_gradients(log_scale, self.log_scale_min_clip, self.log_scale_max_clip)

    def _call(self, x: Tensor) -> Tensor:
        shift, log_scale = self._affine(x)
        y = torch.exp(log_scale) * x + shift
        self.remember(x, y, log_scale)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        def inverted(x: Tensor) -> Tensor:
            shift, log_scale = self._affine(x)
            return (y - shift) * torch.exp(-log_scale)

        return entry_by_entry(self.arn, y, inverted)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the logs of the scales."""
        log_scale: Tensor | None = self.recalled(x, y)
        return (self._affine(x)[1] if log_scale is None else log_scale).sum(-1)


class ConditionalAffineAutoregressive(ConditionalTransformModule):
    """An :class:`AffineAutoregressive` flow whose network sees a context, too.

    Args:
        autoregressive_nn: a network such as :class:`~ember.nn.ConditionalAutoRegressiveNN`.
        kwargs: further arguments of :class:`AffineAutoregressive`.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalAffineAutoregressive
    >>> from ember.nn import ConditionalAutoRegressiveNN
    >>> flow = ConditionalAffineAutoregressive(ConditionalAutoRegressiveNN(3, 2, [20])).condition(torch.zeros(2))
    >>> flow(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, autoregressive_nn: nn.Module, **kwargs: Any) -> None:
        super().__init__()
        self.nn = autoregressive_nn
        self.kwargs = kwargs

    def condition(self, context: Tensor) -> AffineAutoregressive:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return AffineAutoregressive(partial(self.nn, context=context), **self.kwargs)


def affine_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, **kwargs: Any
) -> AffineAutoregressive:
    """Make an :class:`AffineAutoregressive` flow over a random order.

    Args:
        input_dim: the length of the vectors.
        hidden_dims: the sizes of hidden layers, by default one of ``3 * input_dim + 1``.
        kwargs: further arguments of :class:`AffineAutoregressive`.

    >>> import torch
    >>> from ember.distributions.transforms import affine_autoregressive
    >>> affine_autoregressive(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [3 * input_dim + 1] if hidden_dims is None else hidden_dims
    return AffineAutoregressive(AutoRegressiveNN(input_dim, hidden), **kwargs)


def conditional_affine_autoregressive(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, **kwargs: Any
) -> ConditionalAffineAutoregressive:
    """Make a :class:`ConditionalAffineAutoregressive` flow over a random order.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default one of ``10 * input_dim``.
        kwargs: further arguments of :class:`AffineAutoregressive`.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_affine_autoregressive
    >>> flow = conditional_affine_autoregressive(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] if hidden_dims is None else hidden_dims
    network = ConditionalAutoRegressiveNN(input_dim, context_dim, hidden)
    return ConditionalAffineAutoregressive(network, **kwargs)
