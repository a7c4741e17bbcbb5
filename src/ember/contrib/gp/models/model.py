"""What all models of Gaussian processes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor

import ember.distributions as dist
from ember.contrib.gp.kernels.kernel import Kernel
from ember.contrib.gp.parameterized import Parameterized
from ember.contrib.gp.util import add_to_diagonal, conditional
from ember.distributions import constraints
from ember.nn import PyroParam

Mean = Callable[[Tensor], Tensor]


def _zero_mean(x: Tensor) -> Any:
    return 0.0


class GPModel(Parameterized):
    """A function with a Gaussian process as prior, and data about it.

    A subclass defines ``model`` and ``guide``, without arguments, and ``forward``, the posterior at new inputs.

    Args:
        X: the inputs, (N, ...).
        y: the outputs, (..., N), several for several functions; None for draws from the prior.
        kernel: the covariance function.
        mean_function: the prior's mean; zero if None.
        jitter: added to the diagonal of covariances before they are decomposed.

    Raises:
        ValueError: if there is not one output an input.
    """

    def __init__(
        self,
        X: Any,
        y: Tensor | None,
        kernel: Kernel,
        mean_function: Mean | None = None,
        jitter: float = 1e-6,
    ) -> None:
        super().__init__()
        self.set_data(X, y)
        self.kernel = kernel
        self.mean_function: Mean = _zero_mean if mean_function is None else mean_function
        self.jitter = jitter

    def model(self) -> Any:
        """The program of the prior and the data."""
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define model")

    def guide(self) -> Any:
        """The program of the posterior."""
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define guide")

    def forward(self, Xnew: Tensor, full_cov: bool = False) -> Any:
        """Mean and variances, or covariances, of the function at new inputs.

        Args:
            Xnew: of shape (M, ...).
            full_cov: covariances.
        """
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define forward")

    def set_data(self, X: Any, y: Tensor | None = None) -> None:
        """Other data, of the same features: minibatches, points one after the other, latent inputs.

        Args:
            X: the inputs.
            y: the outputs.

        Raises:
            ValueError: if there is not one output an input.
        """
        if y is not None and X.size(0) != y.size(-1):
            raise ValueError(
                "Expected the number of input data points equal to the number of output data points, "
                f"but got {X.size(0)} and {y.size(-1)}."
            )
        self.X = X
        self.y = y

    def _check_Xnew_shape(self, Xnew: Tensor) -> None:
        if Xnew.dim() != self.X.dim():
            raise ValueError(
                "Train data and test data should have the same number of dimensions, "
                f"but got {self.X.dim()} and {Xnew.dim()}."
            )
        if self.X.shape[1:] != Xnew.shape[1:]:
            raise ValueError(
                "Train data and test data should have the same shape of features, "
                f"but got {self.X.shape[1:]} and {Xnew.shape[1:]}."
            )

    def _given(
        self, Xnew: Tensor, at: Tensor, normal: tuple[Tensor, Tensor], whiten: bool, full_cov: bool
    ) -> tuple[Tensor, Tensor]:
        """Mean and variances, or covariances, at new inputs, given a normal (mean, factor) of the values at others."""
        self._check_Xnew_shape(Xnew)
        self.set_mode("guide")
        found = conditional(
            Xnew, at, self.kernel, *normal, full_cov=full_cov, whiten=whiten, jitter=self.jitter
        )
        return found[0] + self.mean_function(Xnew), found[1]

    def _covariance_factor(self, X: Tensor, extra: Any = 0.0) -> Tensor:
        """The Cholesky factor of the covariances at some inputs, with jitter and something more on the diagonal."""
        factor: Tensor = torch.linalg.cholesky(add_to_diagonal(self.kernel(X), self.jitter + extra))
        return factor

    def _outputs(self, loc: Tensor, one_output: Any) -> Any:
        """The distribution of all outputs, given that of those of one function."""
        assert self.y is not None
        return one_output.expand_by(self.y.shape[: self.y.dim() - loc.dim()]).to_event(self.y.dim() - 1)


def latent_normal(loc: Tensor, scale_tril: Tensor) -> Any:
    """A multivariate normal distribution of several functions' values at some inputs, as one event."""
    return dist.MultivariateNormal(loc, scale_tril=scale_tril).to_event(loc.dim() - 1)


def first_factors(shape: Size, like: Tensor) -> Any:
    """A parameter of Cholesky factors that starts at identity matrices, for vectors of a shape (..., N)."""
    return PyroParam(identity_factors(shape, like), constraints.lower_cholesky)


def identity_factors(shape: Size, like: Tensor) -> Tensor:
    """Identity matrices for vectors of a shape (..., N)."""
    return torch.eye(shape[-1], dtype=like.dtype, device=like.device).repeat(shape[:-1] + (1, 1))
