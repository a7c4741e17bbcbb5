"""Block neural autoregressive flows: one network, with blocks of weights, that is monotone in each entry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ember.distributions import constraints
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.remembering import OneWayTransform, activation_named
from ember.ops.logspace import logmatmulexp

_RESIDUALS = (None, "normal", "gated")


class BlockAutoregressive(OneWayTransform, TransformModule):
    """``y`` is a network of ``x`` whose weights are positive on the diagonal of blocks and zero above it.

    So each entry of ``y`` increases in the entry of ``x`` at its place, and depends on those before it. There
    is no inverse but for the last image: it suits guides, and not the density of observed values.

    Args:
        input_dim: the length of the vectors.
        hidden_factors: for each hidden layer, how many units there are for each entry.
        activation: between layers: ``"tanh"``, ``"sigmoid"``, ``"ELU"`` or ``"LeakyReLU"``.
        residual: ``"normal"`` adds ``x`` to the network, ``"gated"`` mixes both, the learned part
            ``sigmoid(gate)`` being ``x``; None does neither.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        ValueError: for another activation or residual.
        KeyError: when another value than the last image is mapped back.

    References:
        N. De Cao, I. Titov, W. Aziz (2019), "Block Neural Autoregressive Flow".

    >>> import torch
    >>> from ember.distributions.transforms import BlockAutoregressive
    >>> flow = BlockAutoregressive(3, hidden_factors=[4])
    >>> x = torch.randn(5, 3)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    autoregressive = True

    def __init__(
        self,
        input_dim: int,
        hidden_factors: Sequence[int] = (8, 8),
        activation: str = "tanh",
        residual: str | None = None,
    ) -> None:
        super().__init__(cache_size=1)
        if residual not in _RESIDUALS:
            raise ValueError(
                f'Invalid value {residual} for keyword argument "residual"; there are None, "normal" and "gated"'
            )
        self.T = activation_named(activation)
        self.residual = residual
        self.input_dim = input_dim
        sizes = [input_dim * factor for factor in (1, *hidden_factors, 1)]
        self.layers = nn.ModuleList(MaskedBlockLinear(m, n, input_dim) for m, n in pairwise(sizes))
        if residual == "gated":
            self.gate = nn.Parameter(torch.randn(1))

    def _call(self, x: Tensor) -> Tensor:
        y, log_slopes = x, None
        for index, layer in enumerate(self.layers):
            if index:
                bent = self.T(y)
                own = self.T.log_abs_det_jacobian(y, bent).unflatten(-1, (self.input_dim, -1))  # type: ignore[no-untyped-call]
                log_slopes, y = own + log_slopes, bent
            y, log_weights = layer(y)
            # log_weights is (entries, units before, units after); the slope of each unit by its own entry goes through.
            log_slopes = _through(log_slopes, log_weights)
        assert log_slopes is not None
        y, log_slope = self._with_residual(x, y, log_slopes.squeeze(-1))
        self.remember(x, y, log_slope.sum(-1).expand(x.shape[:-1]))
        return y

    def _with_residual(self, x: Tensor, y: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        if self.residual == "normal":
            return x + y, F.softplus(log_slope)
        if self.residual == "gated":
            kept = self.gate.sigmoid()
            log_slope = F.logsigmoid(self.gate) + F.softplus(log_slope - self.gate)
            return kept * x + (1 - kept) * y, log_slope
        return y, log_slope

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the log slopes, each of which is a product of the blocks on the diagonal."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


def log_matrix_product(A: Tensor, B: Tensor) -> Tensor:
    """The product of two matrices of logarithms.

    Shapes: ``A`` is ``(..., n, k)``, ``B`` is ``(..., k, m)``, the result is ``(..., n, m)``.
    """
    return logmatmulexp(A, B)


def _through(log_slopes: Tensor | None, log_weights: Tensor) -> Tensor:
    if log_slopes is None:
        return log_weights.squeeze(-2)
    return log_matrix_product(log_slopes.unsqueeze(-2), log_weights).squeeze(-2)


class MaskedBlockLinear(nn.Module):
    """A linear layer with blocks of weights, one for each pair of entries: positive if of one entry, free below, zero above.

    Args:
        in_features: size of the input, a multiple of ``dim``.
        out_features: size of the output, a multiple of ``dim``.
        dim: how many blocks there are either way.
        bias: whether a bias is added.

    Called with ``(..., in_features)``, it returns ``(..., out_features)`` and the logs of the weights in
    blocks on the diagonal, ``(dim, in_features // dim, out_features // dim)``.

    >>> y, log_weights = MaskedBlockLinear(3, 6, dim=3)(torch.zeros(5, 3))
    >>> y.shape, log_weights.shape
    (torch.Size([5, 6]), torch.Size([3, 1, 2]))
    """

    mask_d: Tensor
    mask_o: Tensor

    def __init__(self, in_features: int, out_features: int, dim: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.dim = in_features, out_features, dim
        rows, columns = out_features // dim, in_features // dim
        weight = torch.zeros(out_features, in_features)
        for i in range(dim):
            block = torch.empty(rows, (i + 1) * columns)
            weight[i * rows : (i + 1) * rows, : (i + 1) * columns] = nn.init.xavier_uniform_(block)
        self._weight = nn.Parameter(weight)
        self._diag_weight = nn.Parameter(torch.rand(out_features, 1).log())
        self.bias: Any = 0
        if bias:
            bound = 1 / math.sqrt(out_features)
            self.bias = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound))
        ones = torch.ones(rows, columns)
        self.register_buffer("mask_d", torch.kron(torch.eye(dim), ones))
        self.register_buffer("mask_o", torch.kron(torch.ones(dim, dim).tril(-1), ones))

    def get_weights(self) -> tuple[Tensor, Tensor]:
        """The weights, ``(in_features, out_features)``, and the logs of those in blocks on the diagonal."""
        raw = self._weight.exp() * self.mask_d + self._weight * self.mask_o
        square = raw.square().sum(-1, keepdim=True)
        weight = self._diag_weight.exp() * raw / square.sqrt()
        log_weight = self._diag_weight + self._weight - 0.5 * square.log()
        rows, columns = self.out_features // self.dim, self.in_features // self.dim
        blocks = log_weight.reshape(self.dim, rows, self.dim, columns).diagonal(dim1=0, dim2=2)
        return weight.mT, blocks.permute(2, 1, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight, log_weights = self.get_weights()
        return x @ weight + self.bias, log_weights


def block_autoregressive(input_dim: int, **kwargs: Any) -> BlockAutoregressive:
    """A :class:`BlockAutoregressive` flow of vectors of length ``input_dim``; further arguments are its own.

    >>> import torch
    >>> from ember.distributions.transforms import block_autoregressive
    >>> block_autoregressive(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    return BlockAutoregressive(input_dim, **kwargs)
