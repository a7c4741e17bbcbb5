"""Radial flows: vectors are pushed from a centre, or towards it."""

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


class ConditionedRadial(OneWayTransform):
    """A radial flow of given parameters; see :class:`Radial`.

    Args:
        params: the centre ``x0``, and ``alpha`` and ``beta`` before their constraints, or a function that
            returns them.
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

    def _call(self, x: Tensor) -> Tensor:
        x0, alpha_prime, beta_prime = self._params()
        alpha = F.softplus(alpha_prime)
        beta = F.softplus(beta_prime) - alpha  # more than -alpha, so that the distance from x0 increases
        away = x - x0
        distance: Tensor = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
        h = 1 / (alpha + distance)
        y: Tensor = x + beta * h * away
        across, along = beta * h, beta * h - beta * distance * h.square()
        log_det = (x.size(-1) - 1) * torch.log1p(across) + torch.log1p(along)
        self.remember(x, y, log_det.squeeze(-1))
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """That of ``n - 1`` directions across the radius and the one along it."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


class Radial(ConditionedRadial, TransformModule):
    """``y = x + beta (x - x0) / (alpha + |x - x0|)``.

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
    >>> from ember.distributions.transforms import Radial
    >>> flow = Radial(3)
    >>> x = torch.randn(5, 3)
    >>> flow.log_abs_det_jacobian(x, flow(x)).shape
    torch.Size([5])
    """

    bijective = True

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.x0 = nn.Parameter(torch.empty(input_dim))
        self.alpha_prime = nn.Parameter(torch.empty(1))
        self.beta_prime = nn.Parameter(torch.empty(1))
        self.input_dim = input_dim
        self.reset_parameters()

    def _params(self) -> Params:
        return self.x0, self.alpha_prime, self.beta_prime

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly within ``1 / sqrt(input_dim)`` of zero."""
        bound = 1 / math.sqrt(self.input_dim)
        with torch.no_grad():
            for parameter in (self.alpha_prime, self.beta_prime, self.x0):
                parameter.uniform_(-bound, bound)


class ConditionalRadial(ConditionalTransformModule):
    """A :class:`Radial` flow whose parameters a network takes from a context.

    Args:
        nn: from a context to ``x0``, and ``alpha`` and ``beta`` before their constraints, of size 1.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalRadial
    >>> from ember.nn import DenseNN
    >>> flow = ConditionalRadial(DenseNN(2, [20], param_dims=[3, 1, 1])).condition(torch.zeros(2))
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
        x0, alpha_prime, beta_prime = self.nn(context)
        return x0, alpha_prime, beta_prime

    def condition(self, context: Tensor) -> ConditionedRadial:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return ConditionedRadial(partial(self._params, context))


def radial(input_dim: int) -> Radial:
    """Make a :class:`Radial` flow of vectors of length ``input_dim``.

    >>> import torch
    >>> from ember.distributions.transforms import radial
    >>> radial(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    return Radial(input_dim)


def conditional_radial(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None
) -> ConditionalRadial:
    """Make a :class:`ConditionalRadial` flow with a dense network.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_radial
    >>> flow = conditional_radial(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    return ConditionalRadial(DenseNN(context_dim, hidden, param_dims=[input_dim, 1, 1]))
