"""Flows that mix the channels of images by an invertible matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor, nn

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.dense_nn import DenseNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transform_state import CopyableTransform

_IMAGE = constraints.independent(constraints.real, 3)  # type: ignore[no-untyped-call]


class ConditionedGeneralizedChannelPermute(CopyableTransform):
    """A mixing of channels by a given matrix; see :class:`GeneralizedChannelPermute`.

    Args:
        permutation: a matrix of ones and zeros, ``(channels, channels)``.
        LU: below the diagonal, that of the lower triangular factor, whose diagonal is one; the rest is the
            upper one, ``(..., channels, channels)``.
    """

    domain = _IMAGE
    codomain = _IMAGE
    bijective = True

    permutation: Tensor
    LU: Tensor

    def __init__(self, permutation: Tensor | None = None, LU: Tensor | None = None) -> None:
        super().__init__(cache_size=1)
        if permutation is not None:
            self.permutation = permutation
        if LU is not None:
            self.LU = LU

    @property
    def U_diag(self) -> Tensor:
        """The diagonal of the upper triangular factor."""
        return self.LU.diagonal(dim1=-2, dim2=-1)

    @property
    def L(self) -> Tensor:
        """The lower triangular factor."""
        eye = torch.eye(self.LU.size(-1), dtype=self.LU.dtype, device=self.LU.device)
        return self.LU.tril(diagonal=-1) + eye

    @property
    def U(self) -> Tensor:
        """The upper triangular factor."""
        return self.LU.triu()

    def _call(self, x: Tensor) -> Tensor:
        """Each pixel's channels times the matrix."""
        matrix = self.permutation @ self.L @ self.U
        return (matrix @ x.flatten(-2)).reshape(_joined(matrix, x))

    def _inverse(self, y: Tensor) -> Tensor:
        """By two triangular systems."""
        away = self.permutation.mT @ y.flatten(-2)
        away = torch.linalg.solve_triangular(self.L, away, upper=False, unitriangular=True)
        x: Tensor = torch.linalg.solve_triangular(self.U, away, upper=True)
        return x.reshape(_joined(self.LU, y))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The log determinant of the matrix, for each pixel."""
        pixels = x.size(-2) * x.size(-1)
        return self.U_diag.abs().log().sum(-1) * pixels + x.new_zeros(x.shape[:-3])


def _joined(matrix: Tensor, image: Tensor) -> Size:
    batch: Size = torch.broadcast_shapes(matrix.shape[:-2], image.shape[:-3])  # type: ignore[no-untyped-call]
    return Size((*batch, *image.shape[-3:]))


def _as_matrix(permutation: Tensor, channels: int) -> Tensor:
    if len(permutation) != channels:
        raise ValueError(
            f'Keyword argument "permutation" expected to have {channels} elements but {len(permutation)} found.'
        )
    return torch.eye(channels)[permutation.to(torch.int64)]


class GeneralizedChannelPermute(ConditionedGeneralizedChannelPermute, TransformModule):
    """Mixes the channels of images, the same for all pixels: a convolution with a kernel of one pixel.

    The matrix is ``P L U``, with ``P`` a fixed permutation. It begins as a random rotation.

    Args:
        channels: how many channels there are.
        permutation: the order of channels that ``P`` makes; by default that of the random rotation.

    Shapes:
        x, y: ``(..., channels, height, width)``.

    Raises:
        ValueError: if the permutation has not one entry for each channel.

    References:
        D. P. Kingma, P. Dhariwal (2018), "Glow: Generative Flow with Invertible 1x1 Convolutions".
        E. Hoogeboom, R. van den Berg, M. Welling (2019), "Emerging Convolutions for Generative Normalizing
        Flows".

    >>> import torch
    >>> from ember.distributions.transforms import GeneralizedChannelPermute
    >>> flow = GeneralizedChannelPermute(channels=3)
    >>> x = torch.randn(5, 3, 8, 8)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    bijective = True

    def __init__(self, channels: int = 3, permutation: Tensor | None = None) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        LU, pivots = torch.linalg.lu_factor(rotation)
        if permutation is None:
            matrix = torch.lu_unpack(LU, pivots, unpack_data=False)[0]
        else:
            matrix = _as_matrix(permutation, channels)
        self.register_buffer("permutation", matrix)
        self.LU: Tensor = nn.Parameter(LU)


class ConditionalGeneralizedChannelPermute(ConditionalTransformModule):
    """A :class:`GeneralizedChannelPermute` whose triangular factors a network takes from a context.

    Args:
        nn: from a context to ``channels ** 2`` numbers.
        channels: how many channels there are.
        permutation: the order of channels that ``P`` makes; a random one by default.

    Raises:
        ValueError: if the permutation has not one entry for each channel.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalGeneralizedChannelPermute
    >>> from ember.nn import DenseNN
    >>> flow = ConditionalGeneralizedChannelPermute(DenseNN(2, [20], param_dims=[9])).condition(torch.ones(2))
    >>> flow(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4])
    """

    domain = _IMAGE
    codomain = _IMAGE
    bijective = True

    permutation: Tensor

    def __init__(self, nn: nn.Module, channels: int = 3, permutation: Tensor | None = None) -> None:
        super().__init__()
        self.nn = nn
        self.channels = channels
        order = torch.randperm(channels) if permutation is None else permutation
        self.register_buffer("permutation", _as_matrix(order, channels))

    def condition(self, context: Tensor) -> ConditionedGeneralizedChannelPermute:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        numbers: Tensor = self.nn(context)
        LU = numbers.reshape((*numbers.shape[:-1], self.channels, self.channels))
        return ConditionedGeneralizedChannelPermute(self.permutation, LU)


def generalized_channel_permute(**kwargs: Any) -> GeneralizedChannelPermute:
    """Make a :class:`GeneralizedChannelPermute`; arguments are its own.

    >>> import torch
    >>> from ember.distributions.transforms import generalized_channel_permute
    >>> generalized_channel_permute(channels=3)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """
    return GeneralizedChannelPermute(**kwargs)


def conditional_generalized_channel_permute(
    context_dim: int, channels: int = 3, hidden_dims: Sequence[int] | None = None
) -> ConditionalGeneralizedChannelPermute:
    """Make a :class:`ConditionalGeneralizedChannelPermute` with a dense network.

    Args:
        context_dim: the length of contexts.
        channels: how many channels there are.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * channels``.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_generalized_channel_permute
    >>> flow = conditional_generalized_channel_permute(context_dim=2, channels=3)
    >>> flow.condition(torch.zeros(2))(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """
    hidden = [10 * channels] * 2 if hidden_dims is None else hidden_dims
    network = DenseNN(context_dim, hidden, param_dims=[channels * channels])
    return ConditionalGeneralizedChannelPermute(network, channels)
