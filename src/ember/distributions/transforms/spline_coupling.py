"""Spline coupling layers: one part of the entries goes through splines made by the other part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.networks.dense_nn import DenseNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transforms.remembering import RememberingTransform
from ember.distributions.transforms.spline import ConditionalSpline, Spline, spline_sizes


class SplineCoupling(RememberingTransform, TransformModule):
    """``y2`` is ``x2`` through splines made by a network that sees ``x1``, and ``y1`` is ``x1`` through splines of its own.

    Both ways are fast. Put permutations between such layers, so that all entries depend on each other.

    Args:
        input_dim: the length of the vectors.
        split_dim: the length of ``x1``; the rest is ``x2``.
        hypernet: a network such as :class:`~ember.nn.DenseNN`, from ``x1`` to widths, heights, slopes between
            bins and, for linear splines, lambdas, before their constraints; all flattened.
        count_bins: how many bins there are.
        bound: half the width of the interval outside of which it is the identity.
        order: ``"linear"`` or ``"quadratic"``.
        identity: leave ``x1`` as it is.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        ValueError: for another order.

    References:
        See :class:`Spline`.

    >>> import torch
    >>> from ember.distributions.transforms import SplineCoupling
    >>> from ember.nn import DenseNN
    >>> flow = SplineCoupling(5, 2, DenseNN(2, [20], param_dims=[24, 24, 21, 24]))
    >>> x = torch.randn(4, 5)
    >>> torch.allclose(flow.inv(flow(x).clone()), x, atol=1e-4)
    True
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(
        self,
        input_dim: int,
        split_dim: int,
        hypernet: nn.Module,
        count_bins: int = 8,
        bound: float = 3.0,
        order: str = "linear",
        identity: bool = False,
    ) -> None:
        super().__init__(cache_size=1)
        self.lower_spline = Spline(split_dim, count_bins, bound, order)
        self.split_dim = split_dim
        self.upper_spline = ConditionalSpline(hypernet, input_dim - split_dim, count_bins, bound, order)
        self.identity = identity

    def _call(self, x: Tensor) -> Tensor:
        x1, x2 = x[..., : self.split_dim], x[..., self.split_dim :]
        y1 = x1 if self.identity else self.lower_spline(x1)
        upper = self.upper_spline.condition(x1)
        y = torch.cat([y1, upper(x2)], dim=-1)
        self.remember(x, y, self._log_det(x1, y1, upper.log_abs_det_jacobian(x2, upper(x2))))
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        y1, y2 = y[..., : self.split_dim], y[..., self.split_dim :]
        x1 = y1 if self.identity else self.lower_spline.inv(y1)
        upper = self.upper_spline.condition(x1)
        x2 = upper.inv(y2)
        x = torch.cat([x1, x2], dim=-1)
        self.remember(x, y, self._log_det(x1, y1, upper.log_abs_det_jacobian(x2, y2)))
        return x

    def _log_det(self, x1: Tensor, y1: Tensor, upper: Tensor) -> Tensor:
        log_det = upper.sum(-1)
        return log_det if self.identity else log_det + self.lower_spline.log_abs_det_jacobian(x1, y1).sum(-1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the logs of the slopes of all splines."""
        found: Tensor | None = self.recalled(x, y)
        return self.log_abs_det_jacobian(x, self._call(x)) if found is None else found


def spline_coupling(
    input_dim: int,
    split_dim: int | None = None,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
) -> SplineCoupling:
    """Make a :class:`SplineCoupling` layer of linear splines with a dense network.

    Args:
        input_dim: the length of the vectors.
        split_dim: the length of the part that the network sees, by default half.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.
        count_bins: how many bins there are.
        bound: half the width of the interval.

    >>> import torch
    >>> from ember.distributions.transforms import spline_coupling
    >>> spline_coupling(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    if split_dim is None:
        split_dim = input_dim // 2
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    sizes = [(input_dim - split_dim) * size for size in spline_sizes(count_bins, "linear")]
    return SplineCoupling(input_dim, split_dim, DenseNN(split_dim, hidden, sizes), count_bins, bound)
