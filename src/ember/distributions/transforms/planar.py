"""Planar flows: vectors are pushed along one direction, by an amount that varies along another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.dense_nn import DenseNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.remembering import OneWayTransform

Params = tuple[Tensor, Tensor, Tensor]


class ConditionedPlanar(OneWayTransform):
    """A planar flow of given parameters; see :class:`Planar`.

    Args:
        params: the bias, ``u`` and ``w``, or a function that returns them.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, params: Params | Callable[[], Params] | None = None) -> None:
        super().__init__(cache_size=1)
        self.given = params

    def _params(self) -> Params:
        assert self.given is not None
        return self.given() if callable(self.given) else self.given

    def u_hat(self, u: Tensor, w: Tensor) -> Tensor:
        """``u`` moved along ``w`` until ``w.u > -1``: then the map increases along ``w`` (appendix A.1 of the paper)."""
        along = (u * w).sum(-1, keepdim=True)
        return u + (F.softplus(along) - 1 - along) * w / w.square().sum(-1, keepdim=True)

    def _call(self, x: Tensor) -> Tensor:
        bias, u, w = self._params()
        u = self.u_hat(u, w)
        bent = torch.tanh((x * w).sum(-1, keepdim=True) + bias)
        y = x + u * bent
        slope = (1 - bent.square()) * (u * w).sum(-1, keepdim=True)
        self.remember(x, y, (1 + slope).abs().log().squeeze(-1))
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``log |1 + h'(w.x + b) w.u|``."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


class Planar(ConditionedPlanar, TransformModule):
    """``y = x + u tanh(w.x + b)``, with ``u`` such that this can be inverted.

    The inverse has no closed form: only the last image can be mapped back. So it suits guides, and not the
    density of observed values.

    Args:
        input_dim: the length of the vectors.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        KeyError: when another value than the last image is mapped back.

    References:
        D. J. Rezende, S. Mohamed (2015), "Variational Inference with Normalizing Flows".

    >>> import torch
    >>> from ember.distributions.transforms import Planar
    >>> flow = Planar(3)
    >>> x = torch.randn(5, 3)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    bijective = True

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(1))
        self.u = nn.Parameter(torch.empty(input_dim))
        self.w = nn.Parameter(torch.empty(input_dim))
        self.input_dim = input_dim
        self.reset_parameters()

    def _params(self) -> Params:
        return self.bias, self.u, self.w

    def reset_parameters(self) -> None:
        """Draw ``w`` and ``u`` uniformly within ``1 / sqrt(input_dim)`` of zero, and set the bias to zero."""
        bound = 1 / math.sqrt(self.input_dim)
        with torch.no_grad():
            self.w.uniform_(-bound, bound)
            self.u.uniform_(-bound, bound)
            self.bias.zero_()


class ConditionalPlanar(ConditionalTransformModule):
    """A :class:`Planar` flow whose parameters a network takes from a context.

    Args:
        nn: from a context to the bias, of size 1, and ``u`` and ``w``.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalPlanar
    >>> from ember.nn import DenseNN
    >>> flow = ConditionalPlanar(DenseNN(2, [20], param_dims=[1, 3, 3])).condition(torch.zeros(2))
    >>> flow(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, nn: nn.Module) -> None:
        super().__init__()
        self.nn = nn

    def _params(self, context: Tensor) -> Params:
        bias, u, w = self.nn(context)
        return bias, u, w

    def condition(self, context: Tensor) -> ConditionedPlanar:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return ConditionedPlanar(partial(self._params, context))


def planar(input_dim: int) -> Planar:
    """Make a :class:`Planar` flow of vectors of length ``input_dim``.

    >>> import torch
    >>> from ember.distributions.transforms import planar
    >>> planar(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    return Planar(input_dim)


def conditional_planar(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None
) -> ConditionalPlanar:
    """Make a :class:`ConditionalPlanar` flow with a dense network.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_planar
    >>> flow = conditional_planar(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    return ConditionalPlanar(DenseNN(context_dim, hidden, param_dims=[1, input_dim, input_dim]))
