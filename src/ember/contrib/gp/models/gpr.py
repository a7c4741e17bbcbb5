"""Exact regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import ember.distributions as dist
from ember.contrib.gp.kernels.kernel import Kernel, positive
from ember.contrib.gp.models.model import GPModel, Mean
from ember.contrib.gp.util import add_to_diagonal, conditional
from ember.nn import pyro_method
from ember.primitives import sample


class GPRegression(GPModel):
    """Data with normal noise; the function is integrated out. O(N^3) a step, O(N^3 M) for M new inputs.

    C. E. Rasmussen and C. K. I. Williams (2006), *Gaussian processes for machine learning*, algorithm 2.1.

    Args:
        X: the inputs.
        y: the outputs.
        kernel: the covariance function.
        noise: the variance of the noise; one if None.
        mean_function: the prior's mean; zero if None.
        jitter: added to the diagonal of covariances.

    >>> import torch
    >>> from ember.contrib.gp.kernels import RBF
    >>> X = torch.tensor([0.0, 1.0])
    >>> gp = GPRegression(X, torch.tensor([0.0, 1.0]), RBF(1), noise=torch.tensor(1e-4))
    >>> loc, var = gp(X)
    >>> loc.detach().round(decimals=2)
    tensor([0., 1.])
    """

    noise: Tensor

    def __init__(
        self,
        X: Tensor,
        y: Tensor | None,
        kernel: Kernel,
        noise: Tensor | None = None,
        mean_function: Mean | None = None,
        jitter: float = 1e-6,
    ) -> None:
        super().__init__(X, y, kernel, mean_function, jitter)
        noise = self.X.new_tensor(1.0) if noise is None else noise
        self.noise = positive(noise)

    @pyro_method
    def model(self) -> Any:
        """The marginal likelihood of the data; mean and variances of the outputs without data."""
        self.set_mode("model")
        kernel_matrix = self.kernel(self.X)
        Lff = torch.linalg.cholesky(add_to_diagonal(kernel_matrix, self.jitter + self.noise))
        f_loc = self.X.new_zeros(self.X.size(0)) + self.mean_function(self.X)
        if self.y is None:
            return f_loc, Lff.square().sum(-1)
        y_dist = self._outputs(f_loc, dist.MultivariateNormal(f_loc, scale_tril=Lff))
        return sample(self._pyro_get_fullname("y"), y_dist, obs=self.y)

    @pyro_method
    def guide(self) -> None:
        """The guides of random parameters."""
        self.set_mode("guide")
        self._load_pyro_samples()

    def forward(self, Xnew: Tensor, full_cov: bool = False, noiseless: bool = True) -> tuple[Tensor, Tensor]:
        """Mean and variances, or covariances, of the function at new inputs.

        Args:
            Xnew: of shape (M, ...).
            full_cov: covariances.
            noiseless: of the function; of new data if False.
        """
        self._check_Xnew_shape(Xnew)
        self.set_mode("guide")
        assert self.y is not None, "a model without outputs has no posterior: call set_data(X, y)"
        Lff = self._covariance_factor(self.X, self.noise)
        residual = self.y - self.mean_function(self.X)
        loc, cov = conditional(Xnew, self.X, self.kernel, residual, None, Lff, full_cov, jitter=self.jitter)
        if not noiseless:
            cov = add_to_diagonal(cov, self.noise) if full_cov else cov + self.noise
        return loc + self.mean_function(Xnew), cov

    def iter_sample(self, noiseless: bool = True) -> Callable[[Tensor], Tensor]:
        """A function that draws one function from the posterior, a few points at a time.

        Args:
            noiseless: draws of the function, and not of data.

        Returns:
            A function of new inputs; what it has returned is remembered, and conditioned on.
        """
        assert self.y is not None, "a model without outputs has no posterior: call set_data(X, y)"
        known = {"X": self.X.clone().detach(), "y": self.y.clone().detach()}
        noise = self.noise.detach()

        def draw(xnew: Tensor) -> Tensor:
            X, y = known["X"], known["y"]
            N, M = self.X.size(0), xnew.size(0)
            # What is added to the diagonal: noise for the data, and for what was drawn if that is data too.
            extra = X.new_full((X.size(0),), self.jitter)
            extra[: N if noiseless else None] += noise
            Lff = torch.linalg.cholesky(self.kernel(X) + extra.diag())
            residual = y - self.mean_function(X)
            loc, cov = conditional(xnew, X, self.kernel, residual, None, Lff, True, jitter=self.jitter)
            if not noiseless:
                cov = add_to_diagonal(cov, noise.expand(M))
            ynew = dist.MultivariateNormal(loc + self.mean_function(xnew), cov).sample()
            known["X"], known["y"] = torch.cat([X, xnew]), torch.cat([y, ynew], dim=-1)
            drawn: Tensor = ynew
            return drawn

        return draw
