"""Sum-of-squares polynomial flows: each entry goes through a monotone polynomial, made by what is before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.networks.auto_reg_nn import AutoRegressiveNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.remembering import OneWayTransform


class Polynomial(OneWayTransform, TransformModule):
    """``y_i = c_i + integral from 0 to x_i of sum_k (sum_r a_ikr u**r)**2 du``, with ``a_i`` of a network.

    The network sees the ``x`` before ``x_i``. There is no inverse but for the last image: it suits guides,
    and not the density of observed values.

    Args:
        autoregressive_nn: a network such as :class:`~ember.nn.AutoRegressiveNN`, that returns
            ``(count_degree + 1) * count_sum`` numbers for each entry.
        input_dim: the length of the vectors.
        count_degree: the degree of the polynomials that are squared.
        count_sum: how many squares are summed.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        KeyError: when another value than the last image is mapped back.

    References:
        P. Jaini, K. A. Selby, Y. Yu (2019), "Sum-of-Squares Polynomial Flow".

    >>> import torch
    >>> from ember.distributions.transforms import Polynomial
    >>> from ember.nn import AutoRegressiveNN
    >>> flow = Polynomial(AutoRegressiveNN(3, [20], param_dims=[10]), 3, count_degree=4, count_sum=2)
    >>> x = torch.randn(5, 3)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    autoregressive = True

    powers: Tensor
    power_mask: Tensor
    mask: Tensor

    def __init__(
        self, autoregressive_nn: nn.Module, input_dim: int, count_degree: int, count_sum: int
    ) -> None:
        super().__init__(cache_size=1)
        self.arn = autoregressive_nn
        self.input_dim = input_dim
        self.count_degree = count_degree
        self.count_sum = count_sum
        self.c = nn.Parameter(torch.empty(input_dim))
        self.reset_parameters()
        self.register_buffer("powers", torch.arange(1.0, count_degree + 2.0))
        # The exponents of products of powers, once integrated, and their inverses.
        self.register_buffer("power_mask", self.powers + self.powers.unsqueeze(-1) - 1)
        self.register_buffer("mask", self.power_mask.reciprocal())

    def reset_parameters(self) -> None:
        """Draw the constants uniformly within ``1 / sqrt(input_dim)`` of zero."""
        bound = 1 / math.sqrt(self.c.size(0))
        with torch.no_grad():
            self.c.uniform_(-bound, bound)

    def _call(self, x: Tensor) -> Tensor:
        a = self.arn(x)
        a = a.reshape((*x.shape[:-1], self.count_sum, self.count_degree + 1, self.input_dim))
        rises = x.unsqueeze(-2) ** (self.powers - 1).unsqueeze(-1)
        slope = (a * rises.unsqueeze(-3)).sum(-2).square().sum(-2)
        # The integral of the product of two powers is a power again, over its exponent.
        products = torch.einsum("...kri,...ksi->...rsi", a, a) * self.mask.unsqueeze(-1)
        terms = products * x[..., None, None, :] ** self.power_mask.unsqueeze(-1)
        y = self.c + terms.sum((-3, -2))
        self.remember(x, y, slope.log().sum(-1))
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the logs of the sums of squares."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


def polynomial(input_dim: int, hidden_dims: Sequence[int] | None = None) -> Polynomial:
    """Make a :class:`Polynomial` flow over a random order, with three squares of polynomials of degree four.

    Args:
        input_dim: the length of the vectors.
        hidden_dims: the sizes of hidden layers, by default one of ``10 * input_dim``.

    >>> import torch
    >>> from ember.distributions.transforms import polynomial
    >>> polynomial(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    count_degree, count_sum = 4, 3
    hidden = [10 * input_dim] if hidden_dims is None else hidden_dims
    network = AutoRegressiveNN(input_dim, hidden, param_dims=[(count_degree + 1) * count_sum])
    return Polynomial(network, input_dim, count_degree, count_sum)
