"""Affine autoregressive flows on the networks of zuko."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.distributions.torch_transform import TransformModule
from ember.distributions.validation import switches_kept


class InverseAutoregressive(TransformModule):
    """``y_i = exp(s_i) x_i + m_i``, with ``s_i`` and ``m_i`` networks of the ``x`` before it (Kingma et al., 2016).

    From ``x`` to ``y`` it takes one pass of the network; back, one for each entry, unless ``y`` is the last image.

    Args:
        network: from ``(..., n)`` to ``(..., 2 n)``: the ``m`` and then the ``s``.
        order: the entries in the order in which they depend on each other.
        log_scale_min_clip: least ``s``.
        log_scale_max_clip: greatest ``s``.
        sigmoid_bias: is added to ``s`` before the sigmoid, if ``stable``.
        stable: use ``y_i = c_i x_i + (1 - c_i) m_i`` with ``c_i = sigmoid(s_i)`` instead.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(
        self,
        network: torch.nn.Module,
        order: Tensor,
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
        sigmoid_bias: float = 2.0,
        stable: bool = False,
    ) -> None:
        super().__init__(cache_size=1)
        self.network = network
        self.order = order.tolist()
        self.clip = log_scale_min_clip, log_scale_max_clip
        self.sigmoid_bias = sigmoid_bias
        self.stable = stable

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.network(x).chunk(2, dim=-1)
        if self.stable:
            log_scale = torch.nn.functional.logsigmoid(log_scale + self.sigmoid_bias)
            return -torch.expm1(log_scale) * mean, log_scale
        # The gradient passes where the value is clipped, so that it can come back.
        clipped = log_scale + (log_scale.clamp(*self.clip) - log_scale).detach()
        return mean, clipped

    def _call(self, x: Tensor) -> Tensor:
        shift, log_scale = self._affine(x)
        # The Jacobian is asked for next, and needs the same pass of the network.
        self.__dict__["_last"] = x, log_scale
        return x * log_scale.exp() + shift

    def _inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for i in self.order:
            shift, log_scale = self._affine(x)
            column = torch.zeros_like(x)
            column[..., i] = 1
            x = x * (1 - column) + column * (y - shift) * (-log_scale).exp()
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of ``s``."""
        last_x, log_scale = self.__dict__.get("_last", (None, None))
        return (log_scale if last_x is x else self._affine(x)[1]).sum(-1)

    def clear_cache(self) -> None:
        """Forget the last value and its image."""
        super().clear_cache()
        self.__dict__.pop("_last", None)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_last", None)
        return state


def affine_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, *, order: Tensor | None = None, **kwargs: Any
) -> InverseAutoregressive:
    """An :class:`InverseAutoregressive` with a masked network over a random order (Germain et al., 2015).

    Args:
        input_dim: the length of the vectors.
        hidden_dims: the sizes of the hidden layers; by default one of ``3 * input_dim + 1``.
        order: the entries in the order in which they depend on each other; by default a random one, which no parameter store
            keeps.
        kwargs: options of :class:`InverseAutoregressive`.

    Raises:
        ImportError: if zuko is not installed.
    """
    try:
        with switches_kept():
            from zuko.nn import MaskedMLP
    except ImportError as error:
        raise ImportError("autoregressive flows need the package zuko: pip install zuko") from error
    if order is None:
        order = torch.randperm(input_dim)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(input_dim)
    precedes = rank[:, None] > rank
    if input_dim == 1:
        return InverseAutoregressive(_Constant(), order, **kwargs)
    network = MaskedMLP(precedes.repeat(2, 1), hidden_features=list(hidden_dims or [3 * input_dim + 1]))
    return InverseAutoregressive(network, order, **kwargs)


class _Constant(torch.nn.Module):
    """The network of a single entry, which has none before it."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.expand(*x.shape[:-1], 2)
