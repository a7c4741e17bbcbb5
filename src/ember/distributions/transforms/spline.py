"""Element-wise flows of monotone rational splines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.dense_nn import DenseNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.rational_splines import knots, spline_inverse, spline_value
from ember.distributions.transforms.remembering import RememberingTransform

Params = tuple[Tensor, Tensor, Tensor, Tensor | None]

_ORDERS = ["linear", "quadratic"]


class ConditionedSpline(RememberingTransform):
    """A spline flow of given parameters; see :class:`Spline`.

    Args:
        params: widths and heights of bins, each summing to one, slopes between them, and lambdas, or None for
            quadratic splines; or a function that returns them.
        bound: half the width of the interval outside of which it is the identity.
        order: ``"linear"`` or ``"quadratic"``.

    Raises:
        ValueError: for another order.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    def __init__(
        self,
        params: Params | Callable[[], Params] | None,
        bound: float = 3.0,
        order: str = "linear",
    ) -> None:
        super().__init__(cache_size=1)
        check_order(order)
        self.given = params
        self.order = order
        self.bound = bound

    def _params(self) -> Params:
        assert self.given is not None
        return self.given() if callable(self.given) else self.given

    def spline_op(self, x: Tensor, **kwargs: bool) -> tuple[Tensor, Tensor]:
        """The value of the splines, and the logs of the slopes.

        Args:
            x: the points.
            kwargs: ``inverse=True`` for the inverse map and its slopes.
        """
        inverse = kwargs.pop("inverse", False)
        if kwargs:
            raise TypeError(f"spline_op() takes 'inverse' only, and not {', '.join(kwargs)}")
        at = knots(*self._params(), self.bound)
        if inverse:
            value, log_slope = spline_inverse(at, x, self.bound)
            return value, -log_slope
        return spline_value(at, x, self.bound)

    def _call(self, x: Tensor) -> Tensor:
        y, log_slope = self.spline_op(x)
        self.remember(x, y, log_slope)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_slope = self.spline_op(y, inverse=True)
        self.remember(x, y, -log_slope)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The logs of the slopes, one for each entry."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


def check_order(order: str) -> None:
    """That the order of a spline is known.

    Raises:
        ValueError: if it is not.
    """
    if order not in _ORDERS:
        raise ValueError(f"Keyword argument 'order' must be one of {_ORDERS}, but '{order}' was found!")


class Spline(ConditionedSpline, TransformModule):
    """Each entry goes through a spline of its own, monotone, on ``[-bound, bound]``.

    Outside it stays as it is.

    A bin has one piece, quadratic over quadratic, or two, linear over linear. Both ways are fast and exact.

    Args:
        input_dim: the length of the vectors.
        count_bins: how many bins there are.
        bound: half the width of the interval.
        order: ``"linear"`` or ``"quadratic"``.

    Shapes:
        x, y: ``(..., input_dim)``; the event is one entry.

    Raises:
        ValueError: for another order.

    References:
        C. Durkan, A. Bekasov, I. Murray, G. Papamakarios (2019), "Neural Spline Flows".
        H. M. Dolatabadi, S. Erfani, C. Leckie (2020), "Invertible Generative Modeling using Linear Rational
        Splines".

    >>> import torch
    >>> from ember.distributions.transforms import Spline
    >>> flow = Spline(3, order="quadratic")
    >>> x = torch.randn(5, 3)
    >>> torch.allclose(flow.inv(flow(x).clone()), x, atol=1e-4)
    True
    """

    bijective = True

    def __init__(
        self, input_dim: int, count_bins: int = 8, bound: float = 3.0, order: str = "linear"
    ) -> None:
        super().__init__(None, bound=bound, order=order)
        self.input_dim = input_dim
        self.count_bins = count_bins
        self.unnormalized_widths = nn.Parameter(torch.randn(input_dim, count_bins))
        self.unnormalized_heights = nn.Parameter(torch.randn(input_dim, count_bins))
        self.unnormalized_derivatives = nn.Parameter(torch.randn(input_dim, count_bins - 1))
        if order == "linear":
            self.unnormalized_lambdas = nn.Parameter(torch.rand(input_dim, count_bins))

    def _params(self) -> Params:
        lambdas = self.unnormalized_lambdas if self.order == "linear" else None
        return normalized(
            self.unnormalized_widths, self.unnormalized_heights, self.unnormalized_derivatives, lambdas
        )


def normalized(widths: Tensor, heights: Tensor, slopes: Tensor, lambdas: Tensor | None = None) -> Params:
    """Free numbers as parameters of a spline: parts of a whole, slopes, and lambdas between zero and one."""
    lambdas = None if lambdas is None else lambdas.sigmoid()
    return widths.softmax(-1), heights.softmax(-1), F.softplus(slopes), lambdas


class ConditionalSpline(ConditionalTransformModule):
    """A :class:`Spline` flow whose parameters a network takes from a context.

    Args:
        nn: from a context to widths, heights, slopes between bins and, for linear splines, lambdas, before
            their constraints; all flattened.
        input_dim: the length of the vectors.
        count_bins: how many bins there are.
        bound: half the width of the interval.
        order: ``"linear"`` or ``"quadratic"``.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalSpline
    >>> from ember.nn import DenseNN
    >>> flow = ConditionalSpline(DenseNN(2, [20], param_dims=[24, 24, 21, 24]), 3, count_bins=8)
    >>> flow.condition(torch.zeros(2))(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    def __init__(
        self,
        nn: Callable[[Tensor], Any],
        input_dim: int,
        count_bins: int,
        bound: float = 3.0,
        order: str = "linear",
    ) -> None:
        super().__init__()
        self.nn = nn
        self.input_dim = input_dim
        self.count_bins = count_bins
        self.bound = bound
        self.order = order

    def _params(self, context: Tensor) -> Params:
        numbers = self.checked(self.nn(context))
        sizes = spline_sizes(self.count_bins, self.order)
        parts = [
            part.reshape((*part.shape[:-1], self.input_dim, size))
            for part, size in zip(numbers, sizes, strict=True)
        ]
        return normalized(*parts)

    def checked(self, numbers: Any) -> Sequence[Tensor]:
        """Return the parameters that the network has returned, one tensor of each kind.

        Raises:
            ValueError: if there are more or fewer kinds than a spline of this order takes.
        """
        wanted = len(spline_sizes(self.count_bins, self.order))
        if len(numbers) != wanted:
            raise ValueError(
                f"the network of a spline of order {self.order!r} returns {wanted} parameters, got {len(numbers)}"
            )
        return numbers  # type: ignore[no-any-return]

    def condition(self, context: Tensor) -> ConditionedSpline:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return ConditionedSpline(partial(self._params, context), bound=self.bound, order=self.order)


def spline_sizes(count_bins: int, order: str) -> list[int]:
    """How many numbers of each kind a spline takes, before their constraints.

    >>> spline_sizes(8, "quadratic")
    [8, 8, 7]
    """
    check_order(order)
    sizes = [count_bins, count_bins, count_bins - 1]
    return [*sizes, count_bins] if order == "linear" else sizes


def spline(input_dim: int, **kwargs: Any) -> Spline:
    """Make a :class:`Spline` flow of vectors of length ``input_dim``; further arguments are its own.

    >>> import torch
    >>> from ember.distributions.transforms import spline
    >>> spline(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    return Spline(input_dim, **kwargs)


def conditional_spline(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> ConditionalSpline:
    """Make a :class:`ConditionalSpline` flow with a dense network.

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
    >>> from ember.distributions.transforms import conditional_spline
    >>> flow = conditional_spline(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    network = DenseNN(context_dim, hidden, [input_dim * size for size in spline_sizes(count_bins, order)])
    return ConditionalSpline(network, input_dim, count_bins, bound, order)
