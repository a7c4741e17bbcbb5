"""Networks whose i-th output depends on the first inputs, up to the (i-1)-th, only.

Masks on the weights do that (MADE: Germain, Gregor, Murray and Larochelle, 2015; with a context: Paige and
Wood, 2016).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ember.distributions.networks.dense_nn import Parts, slices_of


def sample_mask_indices(input_dim: int, hidden_dim: int, simple: bool = True) -> Tensor:
    """Degrees of hidden units: the number of the last input that each may depend on, spread evenly over 1 ... input_dim.

    Args:
        input_dim: how many inputs there are.
        hidden_dim: how many hidden units there are.
        simple: round degrees to the nearest integer; else up or down at random.

    >>> sample_mask_indices(3, 5)
    tensor([1., 2., 2., 2., 3.])
    """
    degrees = torch.linspace(1, input_dim, steps=hidden_dim)
    if simple:
        return torch.round(degrees)
    whole = degrees.floor()
    return whole + torch.bernoulli(degrees - whole)


def create_mask(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int],
    permutation: Tensor,
    output_dim_multiplier: int,
) -> tuple[list[Tensor], Tensor]:
    """Masks of an autoregressive network.

    Args:
        input_dim: how many inputs there are.
        context_dim: how many units of context come before them, which everything may depend on.
        hidden_dims: sizes of the hidden layers.
        permutation: the order of the inputs.
        output_dim_multiplier: how many outputs there are for each input.

    Returns:
        The masks of all layers, each of shape ``(out, in)``, and that of a direct connection from input to
            output.
    """
    dtype = torch.get_default_dtype()
    position = torch.empty(permutation.shape, dtype=dtype)
    position[permutation] = torch.arange(input_dim, dtype=dtype)
    inputs = torch.cat([torch.zeros(context_dim), 1 + position])
    if context_dim > 0:
        hidden = [sample_mask_indices(input_dim, size) - 1 for size in hidden_dims]
    else:
        hidden = [sample_mask_indices(input_dim - 1, size) for size in hidden_dims]
    outputs = (position + 1).repeat(output_dim_multiplier)
    masks = [(after.unsqueeze(-1) >= before).to(dtype) for before, after in pairwise([inputs, *hidden])]
    masks.append((outputs.unsqueeze(-1) > hidden[-1]).to(dtype))
    return masks, (outputs.unsqueeze(-1) > inputs).to(dtype)


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are held at zero.

    Args:
        in_features: size of the input.
        out_features: size of the output.
        mask: ones and zeros, of shape ``(out_features, in_features)``.
        bias: whether a bias is added.

    >>> import torch
    >>> from ember.nn import MaskedLinear
    >>> layer = MaskedLinear(2, 1, torch.tensor([[1.0, 0.0]]))
    >>> bool(layer(torch.tensor([1.0, 5.0])) == layer(torch.tensor([1.0, -7.0])))
    True
    """

    mask: Tensor

    def __init__(self, in_features: int, out_features: int, mask: Tensor, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("mask", mask.detach())

    def forward(self, _input: Tensor) -> Tensor:
        return F.linear(_input, self.weight * self.mask, self.bias)


class ConditionalAutoRegressiveNN(nn.Module):
    """An autoregressive network of an input and a context.

    Args:
        input_dim: size of the input.
        context_dim: size of the context.
        hidden_dims: sizes of the hidden layers, none smaller than the input.
        param_dims: how many outputs of each kind there are for an input.
        permutation: the order in which inputs depend on each other; random by default.
        skip_connections: connect the input with the output directly, too.
        nonlinearity: follows every layer but the last.

    Called with ``x`` of shape ``(..., input_dim)`` and a context that broadcasts with it, it returns one
    tensor of shape ``(..., n, input_dim)`` for each ``n`` of ``param_dims``; where all are 1, of shape
    ``(..., input_dim)``. If there is only one, it is not in a tuple.

    Raises:
        ValueError: if a hidden layer is too small.

    >>> import torch
    >>> from ember.nn import ConditionalAutoRegressiveNN
    >>> net = ConditionalAutoRegressiveNN(10, 5, [50], param_dims=[1, 1])
    >>> mean, scale = net(torch.randn(100, 10), context=torch.randn(100, 5))
    >>> mean.shape
    torch.Size([100, 10])
    """

    permutation: Tensor

    def __init__(
        self,
        input_dim: int,
        context_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        permutation: Tensor | None = None,
        skip_connections: bool = False,
        nonlinearity: nn.Module = nn.ReLU(),  # noqa: B008  (it has no state)
    ) -> None:
        super().__init__()
        if input_dim == 1:
            warnings.warn(
                "ConditionalAutoRegressiveNN input_dim = 1. Consider using an affine transformation instead."
            )
        if any(size < input_dim for size in hidden_dims):
            raise ValueError(
                "Hidden dimension must not be less than input dimension. "
                f"Got hidden_dims {list(hidden_dims)} for input_dim {input_dim}."
            )
        self.input_dim = input_dim
        self.context_dim = context_dim
        self.hidden_dims = hidden_dims
        self.param_dims = param_dims
        self.count_params = len(self.param_dims)
        self.output_multiplier = sum(self.param_dims)
        self.all_ones = all(size == 1 for size in self.param_dims)
        self.param_slices = slices_of(self.param_dims)
        order = torch.randperm(input_dim) if permutation is None else permutation.to(torch.int64)
        self.register_buffer("permutation", order)
        self.masks, self.mask_skip = create_mask(
            input_dim, context_dim, hidden_dims, order, self.output_multiplier
        )
        num_inputs, num_outputs = input_dim + context_dim, input_dim * self.output_multiplier
        sizes = pairwise([num_inputs, *hidden_dims, num_outputs])
        self.layers = nn.ModuleList(
            MaskedLinear(before, after, mask) for (before, after), mask in zip(sizes, self.masks, strict=True)
        )
        self.skip_layer: MaskedLinear | None = (
            MaskedLinear(num_inputs, num_outputs, self.mask_skip, bias=False) if skip_connections else None
        )
        self.f = nonlinearity

    def get_permutation(self) -> Tensor:
        """Return the order of the inputs."""
        return self.permutation

    @torch.no_grad()
    def reorder(self, permutation: Tensor) -> None:
        """Take another order of the inputs, in place: the masks change, and no weight.

        Raises:
            ValueError: if it is no order of as many inputs.
        """
        if sorted(permutation.tolist()) != list(range(self.input_dim)):
            raise ValueError(f"no order of {self.input_dim} inputs: {permutation.tolist()}")
        self.permutation.copy_(permutation)
        masks, mask_skip = create_mask(
            self.input_dim, self.context_dim, self.hidden_dims, self.permutation.cpu(), self.output_multiplier
        )
        layers = [*self.layers, *([self.skip_layer] if self.skip_layer is not None else [])]
        for layer, mask in zip(layers, [*masks, mask_skip], strict=False):
            layer.mask.copy_(mask)

    def forward(self, x: Tensor, context: Tensor) -> Parts:
        context = context.expand((*x.shape[:-1], context.size(-1)))
        return self._forward(torch.cat([context, x], dim=-1))

    def _forward(self, x: Tensor) -> Parts:
        h: Tensor = x
        for layer in self.layers[:-1]:
            h = self.f(layer(h))
        h = self.layers[-1](h)
        if self.skip_layer is not None:
            h = h + self.skip_layer(x)
        if self.output_multiplier == 1:
            return h
        h = h.reshape((*x.shape[:-1], self.output_multiplier, self.input_dim))
        if self.count_params == 1:
            return h
        if self.all_ones:
            return torch.unbind(h, dim=-2)
        return tuple(h[..., part, :] for part in self.param_slices)


class AutoRegressiveNN(ConditionalAutoRegressiveNN):
    """An autoregressive network of an input alone; see :class:`ConditionalAutoRegressiveNN`.

    Args:
        input_dim: size of the input.
        hidden_dims: sizes of the hidden layers, none smaller than the input.
        param_dims: how many outputs of each kind there are for an input.
        permutation: the order in which inputs depend on each other; random by default.
        skip_connections: connect the input with the output directly, too.
        nonlinearity: follows every layer but the last.

    Raises:
        ValueError: if a hidden layer is too small.

    >>> import torch
    >>> from ember.nn import AutoRegressiveNN
    >>> net = AutoRegressiveNN(10, [50], param_dims=[1, 5])
    >>> [tuple(part.shape) for part in net(torch.randn(100, 10))]
    [(100, 1, 10), (100, 5, 10)]
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        permutation: Tensor | None = None,
        skip_connections: bool = False,
        nonlinearity: nn.Module = nn.ReLU(),  # noqa: B008
    ) -> None:
        super().__init__(input_dim, 0, hidden_dims, param_dims, permutation, skip_connections, nonlinearity)

    def forward(self, x: Tensor) -> Parts:  # type: ignore[override]
        return self._forward(x)
