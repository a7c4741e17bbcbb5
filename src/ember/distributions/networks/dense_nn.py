"""Feed-forward networks whose output is split into several parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

Parts = Tensor | Sequence[Tensor]


def slices_of(sizes: Sequence[int]) -> list[slice]:
    """Where each of several neighbouring parts lies.

    >>> slices_of([1, 5])
    [slice(0, 1, None), slice(1, 6, None)]
    """
    return [slice(start, end) for start, end in pairwise(accumulate(sizes, initial=0))]


class ConditionalDenseNN(nn.Module):
    """A dense network of an input and a context.

    Args:
        input_dim: size of the input.
        context_dim: size of the context.
        hidden_dims: sizes of the hidden layers, at least one.
        param_dims: sizes of the parameters that come out.
        nonlinearity: follows every layer but the last.

    Called with ``x`` of shape ``(..., input_dim)`` and a context that broadcasts with it, it returns one
    tensor of shape ``(..., n)`` for each ``n`` of ``param_dims``. If there is only one, it is not in a tuple.

    >>> import torch
    >>> from ember.nn import ConditionalDenseNN
    >>> net = ConditionalDenseNN(10, 5, [50], param_dims=[1, 10])
    >>> [tuple(part.shape) for part in net(torch.rand(100, 10), context=torch.rand(5))]
    [(100, 1), (100, 10)]
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        nonlinearity: nn.Module = nn.ReLU(),  # noqa: B008  (it has no state)
    ) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.context_dim = context_dim
        self.hidden_dims = hidden_dims
        self.param_dims = param_dims
        self.count_params = len(self.param_dims)
        self.output_multiplier = sum(self.param_dims)
        self.param_slices = slices_of(self.param_dims)
        sizes = [input_dim + context_dim, *hidden_dims, self.output_multiplier]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.f = nonlinearity

    def forward(self, x: Tensor, context: Tensor) -> Parts:
        context = context.expand((*x.shape[:-1], context.size(-1)))
        return self._forward(torch.cat([context, x], dim=-1))

    def _forward(self, x: Tensor) -> Parts:
        for layer in self.layers[:-1]:
            x = self.f(layer(x))
        x = self.layers[-1](x)
        if self.count_params == 1:
            return x
        return tuple(x[..., part] for part in self.param_slices)


class DenseNN(ConditionalDenseNN):
    """A dense network of an input alone; see :class:`ConditionalDenseNN`.

    Args:
        input_dim: size of the input.
        hidden_dims: sizes of the hidden layers, at least one.
        param_dims: sizes of the parameters that come out.
        nonlinearity: follows every layer but the last.

    >>> import torch
    >>> from ember.nn import DenseNN
    >>> loc, scale = DenseNN(4, [8], param_dims=[1, 1])(torch.rand(100, 4))
    >>> loc.shape
    torch.Size([100, 1])
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        nonlinearity: nn.Module = nn.ReLU(),  # noqa: B008
    ) -> None:
        super().__init__(input_dim, 0, hidden_dims, param_dims=param_dims, nonlinearity=nonlinearity)

    def forward(self, x: Tensor) -> Parts:  # type: ignore[override]
        return self._forward(x)
