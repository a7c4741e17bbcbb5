"""Neural autoregressive flows: each entry goes through a small monotone network, made by what is before it."""

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
from ember.distributions.transforms.remembering import OneWayTransform, activation_named

eps = 1e-8


class NeuralAutoregressive(OneWayTransform, TransformModule):
    """``y_i = h^-1(sum_j w_ij h(a_ij x_i + b_ij))``, with ``w``, ``a``, ``b`` of a network that sees the ``x`` before it.

    The ``a`` are positive, and the ``w`` of an entry are positive and sum to one. There is no inverse but for
    the last image: it suits guides, and not the density of observed values.

    Args:
        autoregressive_nn: a network such as :class:`~ember.nn.AutoRegressiveNN`, that returns ``a``, ``w``
            and ``b`` before their constraints, ``hidden_units`` of each for each entry.
        hidden_units: the width of the small networks.
        activation: ``h``: ``"sigmoid"``, ``"tanh"``, ``"ELU"`` or ``"LeakyReLU"``.

    Shapes:
        x, y: ``(..., n)``.

    Raises:
        ValueError: for another activation.
        KeyError: when another value than the last image is mapped back.

    References:
        C.-W. Huang, D. Krueger, A. Lacoste, A. Courville (2018), "Neural Autoregressive Flows".

    >>> import torch
    >>> from ember.distributions.transforms import NeuralAutoregressive
    >>> from ember.nn import AutoRegressiveNN
    >>> flow = NeuralAutoregressive(AutoRegressiveNN(3, [20], param_dims=[16] * 3))
    >>> x = torch.randn(5, 3)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    eps = 1e-8
    autoregressive = True

    def __init__(
        self, autoregressive_nn: Callable[[Tensor], Any], hidden_units: int = 16, activation: str = "sigmoid"
    ) -> None:
        super().__init__(cache_size=1)
        self.T: Any = activation_named(activation)
        self.arn = autoregressive_nn
        self.hidden_units = hidden_units

    def _call(self, x: Tensor) -> Tensor:
        a_free, w_free, b = self.arn(x)
        a, log_w = F.softplus(a_free), w_free.log_softmax(-2)
        inner = a * x.unsqueeze(-2) + b
        bent = self.T(inner)
        mean = (log_w.exp() * bent).sum(-2)
        y: Tensor = self.T.inv(mean)
        slopes = torch.log(a + self.eps) + log_w + self.T.log_abs_det_jacobian(inner, bent)
        log_slope = slopes.logsumexp(-2) + self.T.inv.log_abs_det_jacobian(mean, y)
        self.remember(x, y, log_slope.sum(-1))
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the log slopes."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


class ConditionalNeuralAutoregressive(ConditionalTransformModule):
    """A :class:`NeuralAutoregressive` flow whose network sees a context, too.

    Args:
        autoregressive_nn: a network such as :class:`~ember.nn.ConditionalAutoRegressiveNN`.
        kwargs: further arguments of :class:`NeuralAutoregressive`.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalNeuralAutoregressive
    >>> from ember.nn import ConditionalAutoRegressiveNN
    >>> network = ConditionalAutoRegressiveNN(3, 2, [20], param_dims=[16] * 3)
    >>> ConditionalNeuralAutoregressive(network).condition(torch.zeros(2))(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, autoregressive_nn: nn.Module, **kwargs: Any) -> None:
        super().__init__()
        self.nn = autoregressive_nn
        self.kwargs = kwargs

    def condition(self, context: Tensor) -> NeuralAutoregressive:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return NeuralAutoregressive(partial(self.nn, context=context), **self.kwargs)


def neural_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, activation: str = "sigmoid", width: int = 16
) -> NeuralAutoregressive:
    """Make a :class:`NeuralAutoregressive` flow over a random order.

    Args:
        input_dim: the length of the vectors.
        hidden_dims: the sizes of hidden layers, by default one of ``3 * input_dim + 1``.
        activation: see :class:`NeuralAutoregressive`.
        width: the width of the small networks.

    >>> import torch
    >>> from ember.distributions.transforms import neural_autoregressive
    >>> neural_autoregressive(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [3 * input_dim + 1] if hidden_dims is None else hidden_dims
    network = AutoRegressiveNN(input_dim, hidden, param_dims=[width] * 3)
    return NeuralAutoregressive(network, hidden_units=width, activation=activation)


def conditional_neural_autoregressive(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    activation: str = "sigmoid",
    width: int = 16,
) -> ConditionalNeuralAutoregressive:
    """Make a :class:`ConditionalNeuralAutoregressive` flow over a random order.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default one of ``3 * input_dim + 1``.
        activation: see :class:`NeuralAutoregressive`.
        width: the width of the small networks.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_neural_autoregressive
    >>> flow = conditional_neural_autoregressive(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [3 * input_dim + 1] if hidden_dims is None else hidden_dims
    network = ConditionalAutoRegressiveNN(input_dim, context_dim, hidden, param_dims=[width] * 3)
    return ConditionalNeuralAutoregressive(network, hidden_units=width, activation=activation)
