"""Autoregressive spline flows: each entry goes through a spline made by what is before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.auto_reg_nn import AutoRegressiveNN, ConditionalAutoRegressiveNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.rational_splines import Knots, knots, spline_inverse, spline_value
from ember.distributions.transforms.remembering import RememberingTransform, entry_by_entry
from ember.distributions.transforms.spline import ConditionalSpline, normalized, spline_sizes


class SplineAutoregressive(RememberingTransform, TransformModule):
    """Each entry goes through a monotone spline, made by a network that sees the ``x`` before it.

    From ``x`` to ``y`` takes one pass of the network, back takes one for each entry: it suits guides. For the
    density of observed values, use its ``inv``.

    Args:
        input_dim: the length of the vectors.
        autoregressive_nn: a network such as :class:`~ember.nn.AutoRegressiveNN`, that returns for each entry
            widths, heights, slopes between bins and, for linear splines, lambdas, before their constraints.
        count_bins: how many bins there are.
        bound: half the width of the interval outside of which it is the identity.
        order: ``"linear"`` or ``"quadratic"``.

    Shapes:
        x, y: ``(..., input_dim)``.

    References:
        See :class:`Spline`.

    >>> import torch
    >>> from ember.distributions.transforms import SplineAutoregressive
    >>> from ember.nn import AutoRegressiveNN
    >>> flow = SplineAutoregressive(3, AutoRegressiveNN(3, [20], param_dims=[8, 8, 7, 8]))
    >>> x = torch.randn(5, 3)
    >>> torch.allclose(flow.inv(flow(x).clone()), x, atol=1e-4)
    True
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    autoregressive = True

    def __init__(
        self,
        input_dim: int,
        autoregressive_nn: Callable[[Tensor], Any],
        count_bins: int = 8,
        bound: float = 3.0,
        order: str = "linear",
    ) -> None:
        super().__init__(cache_size=1)
        self.arn = autoregressive_nn
        self.spline = ConditionalSpline(autoregressive_nn, input_dim, count_bins, bound, order)

    def _knots(self, x: Tensor) -> Knots:
        parts = [part.mT for part in self.spline.checked(self.arn(x))]
        return knots(*normalized(*parts), self.spline.bound)

    def _call(self, x: Tensor) -> Tensor:
        y, log_slope = spline_value(self._knots(x), x, self.spline.bound)
        self.remember(x, y, log_slope.sum(-1))
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        return entry_by_entry(self.arn, y, lambda x: spline_inverse(self._knots(x), y, self.spline.bound)[0])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the logs of the slopes."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


class ConditionalSplineAutoregressive(ConditionalTransformModule):
    """A :class:`SplineAutoregressive` flow whose network sees a context, too.

    Args:
        input_dim: the length of the vectors.
        autoregressive_nn: a network such as :class:`~ember.nn.ConditionalAutoRegressiveNN`.
        kwargs: further arguments of :class:`SplineAutoregressive`.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalSplineAutoregressive
    >>> from ember.nn import ConditionalAutoRegressiveNN
    >>> network = ConditionalAutoRegressiveNN(3, 2, [20], param_dims=[8, 8, 7, 8])
    >>> ConditionalSplineAutoregressive(3, network).condition(torch.zeros(2))(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, input_dim: int, autoregressive_nn: nn.Module, **kwargs: Any) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.nn = autoregressive_nn
        self.kwargs = kwargs

    def condition(self, context: Tensor) -> SplineAutoregressive:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return SplineAutoregressive(self.input_dim, partial(self.nn, context=context), **self.kwargs)


def spline_autoregressive(
    input_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> SplineAutoregressive:
    """Make a :class:`SplineAutoregressive` flow over a random order.

    Args:
        input_dim: the length of the vectors.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.
        count_bins: how many bins there are.
        bound: half the width of the interval.
        order: ``"linear"`` or ``"quadratic"``.

    Raises:
        ValueError: for another order.

    >>> import torch
    >>> from ember.distributions.transforms import spline_autoregressive
    >>> spline_autoregressive(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    network = AutoRegressiveNN(input_dim, hidden, param_dims=spline_sizes(count_bins, order))
    return SplineAutoregressive(input_dim, network, count_bins, bound, order)


def conditional_spline_autoregressive(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> ConditionalSplineAutoregressive:
    """Make a :class:`ConditionalSplineAutoregressive` flow over a random order.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.
        count_bins: how many bins there are.
        bound: half the width of the interval.
        order: ``"linear"`` or ``"quadratic"``.

    Raises:
        ValueError: for another order.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_spline_autoregressive
    >>> flow = conditional_spline_autoregressive(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    sizes = spline_sizes(count_bins, order)
    network = ConditionalAutoRegressiveNN(input_dim, context_dim, hidden, param_dims=sizes)
    return ConditionalSplineAutoregressive(
        input_dim, network, count_bins=count_bins, bound=bound, order=order
    )
