"""Linear flows whose matrix is an exponential: always invertible, with the trace as log determinant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.conditional import ConditionalTransformModule
from ember.distributions.networks.dense_nn import DenseNN
from ember.distributions.torch_transform import TransformModule
from ember.distributions.transform_state import CopyableTransform

_NORMALIZATIONS = ("none", "weight", "spectral")


def _check(iterations: int, normalization: str, bound: float | None) -> None:
    if not iterations > 0:
        raise AssertionError(
            f"the exponential needs one term of its series or more, got iterations={iterations}"
        )
    if normalization not in _NORMALIZATIONS:
        raise ValueError(
            f"Unknown normalization method: {normalization}; there are {', '.join(_NORMALIZATIONS)}"
        )
    if normalization != "none":
        raise NotImplementedError(
            f"Normalization is currently not implemented: normalization={normalization!r}, bound={bound}. "
            "Leave it 'none', and take more iterations if weights grow large"
        )


class ConditionedMatrixExponential(CopyableTransform):
    """``y = exp(M) x`` with a given matrix; see :class:`MatrixExponential`.

    Args:
        weights: the matrix, ``(..., n, n)``, or a function that returns it.
        iterations: how many terms of the series are taken.
        normalization: of the matrix; only ``"none"``.
        bound: of the normalised matrix.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    weights: Tensor | Callable[[], Tensor] | None

    def __init__(
        self,
        weights: Tensor | Callable[[], Tensor] | None = None,
        iterations: int = 8,
        normalization: str = "none",
        bound: float | None = None,
    ) -> None:
        super().__init__(cache_size=1)
        _check(iterations, normalization, bound)
        if weights is not None:
            self.weights = weights
        self.iterations = iterations
        self.normalization = normalization
        self.bound = bound

    def _matrix(self) -> Tensor:
        weights = self.weights() if callable(self.weights) else self.weights
        assert isinstance(weights, Tensor)
        return weights

    def _applied(self, matrix: Tensor, x: Tensor) -> Tensor:
        """``exp(matrix) x``, by products of matrix and vector alone."""
        total = term = x.unsqueeze(-1)
        for k in range(1, self.iterations + 1):
            term = matrix @ term / k
            total = total + term
        return total.squeeze(-1)

    def _call(self, x: Tensor) -> Tensor:
        return self._applied(self._matrix(), x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._applied(-self._matrix(), y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The trace of the matrix."""
        trace = self._matrix().diagonal(dim1=-2, dim2=-1).sum(-1)
        return trace + x.new_zeros(x.shape[:-1])


class MatrixExponential(ConditionedMatrixExponential, TransformModule):
    """``y = exp(M) x`` for a learned square matrix ``M``, with the exponential as a sum of the first terms of its series.

    Args:
        input_dim: the length of the vectors.
        iterations: how many terms of the series are taken. The inverse and the log determinant are those of
            the whole series: with large weights, take more.
        normalization: of the matrix; only ``"none"``.
        bound: of the normalised matrix.

    Shapes:
        x, y: ``(..., input_dim)``.

    Raises:
        AssertionError: if ``iterations`` is not positive.
        ValueError: for an unknown normalization.
        NotImplementedError: for one other than ``"none"``.

    References:
        E. Hoogeboom, V. Garcia Satorras, J. M. Tomczak, M. Welling (2020), "The Convolution Exponential and
        Generalized Sylvester Flows".

    >>> import torch
    >>> from ember.distributions.transforms import MatrixExponential
    >>> flow = MatrixExponential(3)
    >>> x = torch.randn(5, 3)
    >>> torch.allclose(flow.inv(flow(x).clone()), x, atol=1e-4)
    True
    """

    bijective = True

    def __init__(
        self, input_dim: int, iterations: int = 8, normalization: str = "none", bound: float | None = None
    ) -> None:
        super().__init__(iterations=iterations, normalization=normalization, bound=bound)
        self.weights = nn.Parameter(torch.empty(input_dim, input_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the matrix uniformly within ``1 / sqrt(input_dim)`` of zero."""
        assert isinstance(self.weights, Tensor)
        bound = 1 / math.sqrt(self.weights.size(0))
        with torch.no_grad():
            self.weights.uniform_(-bound, bound)


class ConditionalMatrixExponential(ConditionalTransformModule):
    """A :class:`MatrixExponential` flow whose matrix a network takes from a context.

    Args:
        input_dim: the length of the vectors.
        nn: from a context to ``input_dim ** 2`` numbers.
        iterations: how many terms of the series are taken.
        normalization: of the matrix; only ``"none"``.
        bound: of the normalised matrix.

    >>> import torch
    >>> from ember.distributions.transforms import ConditionalMatrixExponential
    >>> from ember.nn import DenseNN
    >>> flow = ConditionalMatrixExponential(3, DenseNN(2, [20], param_dims=[9])).condition(torch.ones(2))
    >>> flow(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(
        self,
        input_dim: int,
        nn: nn.Module,
        iterations: int = 8,
        normalization: str = "none",
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.nn = nn
        self.input_dim = input_dim
        self.iterations = iterations
        self.normalization = normalization
        self.bound = bound

    def _params(self, context: Tensor) -> Tensor:
        result: Tensor = self.nn(context)
        return result

    def _weights(self, context: Tensor) -> Tensor:
        numbers = self._params(context)
        return numbers.reshape((*numbers.shape[:-1], self.input_dim, self.input_dim))

    def condition(self, context: Tensor) -> ConditionedMatrixExponential:
        """Return the flow given a context of shape ``(..., context_dim)``."""
        weights = partial(self._weights, context)
        return ConditionedMatrixExponential(weights, self.iterations, self.normalization, self.bound)


def matrix_exponential(
    input_dim: int, iterations: int = 8, normalization: str = "none", bound: float | None = None
) -> MatrixExponential:
    """Make a :class:`MatrixExponential` flow of vectors of length ``input_dim``.

    >>> import torch
    >>> from ember.distributions.transforms import matrix_exponential
    >>> matrix_exponential(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    return MatrixExponential(input_dim, iterations, normalization, bound)


def conditional_matrix_exponential(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    iterations: int = 8,
    normalization: str = "none",
    bound: float | None = None,
) -> ConditionalMatrixExponential:
    """Make a :class:`ConditionalMatrixExponential` flow with a dense network.

    Args:
        input_dim: the length of the vectors.
        context_dim: the length of contexts.
        hidden_dims: the sizes of hidden layers, by default two of ``10 * input_dim``.
        iterations: how many terms of the series are taken.
        normalization: of the matrix; only ``"none"``.
        bound: of the normalised matrix.

    >>> import torch
    >>> from ember.distributions.transforms import conditional_matrix_exponential
    >>> flow = conditional_matrix_exponential(input_dim=4, context_dim=3)
    >>> flow.condition(torch.zeros(3))(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    hidden = [10 * input_dim] * 2 if hidden_dims is None else hidden_dims
    network = DenseNN(context_dim, hidden, param_dims=[input_dim * input_dim])
    return ConditionalMatrixExponential(input_dim, network, iterations, normalization, bound)
