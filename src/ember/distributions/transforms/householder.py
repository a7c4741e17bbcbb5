"""Householder flows: products of reflections."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.dense_nn import DenseNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transform_state import CopyableTransform


class ConditionedHouseholder(CopyableTransform):
    """Reflections in planes with given normals; see :class:`Householder`.

    Args:
        u_unnormed: the normals, of any length, ``(..., count, n)``, or a function that returns them.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    volume_preserving = True

    u_unnormed: Tensor | Callable[[], Tensor] | None

    def __init__(self, u_unnormed: Tensor | Callable[[], Tensor] | None = None) -> None:
        super().__init__(cache_size=1)
        if u_unnormed is not None:
            self.u_unnormed = u_unnormed

    def u(self) -> Tensor:
        """The normals, of length 1."""
        normals = self.u_unnormed() if callable(self.u_unnormed) else self.u_unnormed
        assert isinstance(normals, Tensor)
        lengths: Tensor = torch.linalg.vector_norm(normals, dim=-1, keepdim=True)
        return normals / lengths

    def _call(self, x: Tensor) -> Tensor:
        return reflected(x, self.u().unbind(-2))

    def _inverse(self, y: Tensor) -> Tensor:
        return reflected(y, self.u().unbind(-2)[::-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero: volume does not change."""
        return x.new_zeros(x.shape[:-1])


def reflected(x: Tensor, normals: Sequence[Tensor]) -> Tensor:
    """Vectors reflected in planes through the origin, one after another; normals have length 1.

    >>> reflected(torch.tensor([1.0, 2.0]), [torch.tensor([1.0, 0.0])])
    tensor([-1.,  2.])
    """
    for u in normals:
        x = x - 2 * (x * u).sum(-1, keepdim=True) * u
    return x


def _check_count(count_transforms: int) -> None:
    if count_transforms < 1:
        raise ValueError(f"Number of Householder transforms, {count_transforms}, is less than 1!")


def _warn_of_many(input_dim: int, count_transforms: int) -> None:
    if count_transforms > input_dim:
        warnings.warn(
            f"Number of Householder transforms, {count_transforms}, is greater than input dimension {input_dim}, "
            "which is an over-parametrization!",
            stacklevel=3,
        )


class Householder(ConditionedHouseholder, TransformModule):
    """An orthogonal map that is a product of ``count_transforms`` reflections ``I - 2 u u' / |u|**2``.

    Args:
        input_dim: the length of the vectors.
        count_transforms: how many reflections there are; ``input_dim`` of them make any orthogonal map, but
            for its sign.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        ValueError: if there is no reflection.

    References:
        J. M. Tomczak, M. Welling (2016), "Improving Variational Auto-Encoders using Householder Flow".

    >>> import torch
    >>> from ember.distributions.transforms import Householder
    >>> x = torch.randn(5, 3)
    >>> y = Householder(3, count_transforms=2)(x)
    >>> torch.allclose(x.norm(dim=-1), y.norm(dim=-1))
    True
    """

    bijective = True
    volume_preserving = True

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None:
        super().__init__()
        self.input_dim = input_dim
        _check_count(count_transforms)
        _warn_of_many(input_dim, count_transforms)
        self.u_unnormed = nn.Parameter(torch.empty(count_transforms, input_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the normals uniformly within ``1 / sqrt(input_dim)`` of zero."""
        assert isinstance(self.u_unnormed, Tensor)
        bound = 1 / math.sqrt(self.u_unnormed.size(-1))
        with torch.no_grad():
            self.u_unnormed.uniform_(-bound, bound)


class ConditionalHouseholder(ConditionalTransformModule):
    """A :class:`Householder` flow whose normals a network takes from a context.

    Args:
        input_dim: the length of the vectors.
        nn: from a context to the normals, ``count_transforms * input_dim`` numbers.
        count_transforms: how many reflections there are.

    Raises:
        ValueError: if there is no reflection.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalHouseholder
    >>> from ember.nn import DenseNN
    >>> flow = ConditionalHouseholder(3, DenseNN(2, [20], param_dims=[6]), count_transforms=2)
    >>> flow.condition(torch.ones(2))(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, input_dim: int, nn: nn.Module, count_transforms: int = 1) -> None:
        super().__init__()
        self.nn = nn
        self.input_dim = input_dim
        _check_count(count_transforms)
        _warn_of_many(input_dim, count_transforms)
        self.count_transforms = count_transforms

    def _u_unnormed(self, context: Tensor) -> Tensor:
        normals: Tensor = self.nn(context)
        return normals.reshape((*normals.shape[:-1], self.count_transforms, self.input_dim))

    def condition(self, context: Tensor) -> ConditionedHouseholder:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        return ConditionedHouseholder(partial(self._u_unnormed, context))


def householder(input_dim: int, count_transforms: int | None = None) -> Householder:
    """Make a :class:`Householder` flow, by default of ``input_dim // 2 + 1`` reflections.

    >>> import torch
    >>> from ember.distributions.transforms import householder
    >>> householder(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    if count_transforms is None:
        count_transforms = input_dim // 2 + 1
    return Householder(input_dim, count_transforms=count_transforms)


def conditional_householder(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, count_transforms: int = 1
) -> ConditionalHouseholder:
    """Make a :class:`ConditionalHouseholder` flow with a dense network.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.
        count_transforms: how many reflections there are.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_householder
    >>> flow = conditional_householder(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    _check_count(count_transforms)
    network = DenseNN(context_dim, hidden, param_dims=[input_dim * count_transforms])
    return ConditionalHouseholder(input_dim, network, count_transforms)
