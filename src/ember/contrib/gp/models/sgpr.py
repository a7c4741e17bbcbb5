"""Sparse regression."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

import ember.distributions as dist
from ember.contrib.gp.kernels.kernel import Kernel, positive
from ember.contrib.gp.models.model import GPModel, Mean
from ember.contrib.gp.util import add_to_diagonal
from ember.nn import pyro_method
from ember.primitives import factor, sample

_METHODS = ("DTC", "FITC", "VFE")


class _LowRank(NamedTuple):
    """The covariance of the data as ``W^T W + diag(D)``."""

    Luu: Tensor
    W: Tensor
    D: Tensor
    trace_term: Tensor | None


class SparseGPRegression(GPModel):
    """Regression through M inducing points: O(N M^2) a step.

    J. Quinonero-Candela and C. E. Rasmussen (2005), *A unifying view of sparse approximate Gaussian process
    regression*; M. Titsias (2009), *Variational learning of inducing variables in sparse Gaussian processes*.

    Args:
        X: the inputs.
        y: the outputs.
        kernel: the covariance function.
        Xu: the first inducing points, (M, ...); they are learned.
        noise: the variance of the noise; one if None.
        mean_function: the prior's mean; zero if None.
        approx: "DTC", "FITC" or, the default, "VFE": a lower bound of the evidence. Its trace term is counted
            once, for several outputs too.
        jitter: added to the diagonal of covariances.

    Raises:
        ValueError: for another method.
    """

    Xu: Tensor
    noise: Tensor

    def __init__(
        self,
        X: Tensor,
        y: Tensor | None,
        kernel: Kernel,
        Xu: Tensor,
        noise: Tensor | None = None,
        mean_function: Mean | None = None,
        approx: str | None = None,
        jitter: float = 1e-6,
    ) -> None:
        super().__init__(X, y, kernel, mean_function, jitter)
        self.Xu = Parameter(Xu.detach().clone())
        noise = self.X.new_tensor(1.0) if noise is None else noise
        self.noise = positive(noise)
        if approx is not None and approx not in _METHODS:
            raise ValueError(
                f"The sparse approximation method should be one of {', '.join(map(repr, _METHODS))}."
            )
        self.approx = "VFE" if approx is None else approx

    def _low_rank(self) -> _LowRank:
        Luu = self._covariance_factor(self.Xu)
        W = torch.linalg.solve_triangular(Luu, self.kernel(self.Xu, self.X), upper=False)
        D = self.noise.expand(self.X.size(0))
        if self.approx == "DTC":
            return _LowRank(Luu, W, D, None)
        missing = self.kernel(self.X, diag=True) - W.square().sum(0)
        if self.approx == "FITC":
            return _LowRank(Luu, W, D + missing.clamp(min=0), None)
        return _LowRank(Luu, W, D, missing.sum().clamp(min=0) / self.noise)

    @pyro_method
    def model(self) -> Any:
        """The approximate marginal likelihood of the data; mean and variances of outputs without data."""
        self.set_mode("model")
        _, W, D, trace_term = self._low_rank()
        f_loc = self.X.new_zeros(self.X.size(0)) + self.mean_function(self.X)
        if trace_term is not None:
            factor(self._pyro_get_fullname("trace_term"), -trace_term / 2.0)
        if self.y is None:
            return f_loc, D + W.square().sum(0)
        y_dist = self._outputs(f_loc, dist.LowRankMultivariateNormal(f_loc, W.t(), D))
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
        Luu, W, D, _ = self._low_rank()
        residual = (self.y - self.mean_function(self.X)).reshape(-1, self.X.size(0))
        W_Dinv = W / D
        L = torch.linalg.cholesky(add_to_diagonal(W_Dinv @ W.t(), 1.0))
        Ws = torch.linalg.solve_triangular(Luu, self.kernel(self.Xu, Xnew), upper=False)
        Linv_y = torch.linalg.solve_triangular(L, W_Dinv @ residual.t(), upper=False)
        Linv_Ws = torch.linalg.solve_triangular(L, Ws, upper=False)
        batch = self.y.shape[:-1]
        loc = (Linv_y.t() @ Linv_Ws).reshape(batch + (Xnew.size(0),))
        if full_cov:
            cov = self.kernel(Xnew) - Ws.t() @ Ws + Linv_Ws.t() @ Linv_Ws
            cov = cov if noiseless else add_to_diagonal(cov, self.noise)
        else:
            cov = self.kernel(Xnew, diag=True) - Ws.square().sum(0) + Linv_Ws.square().sum(0)
            cov = cov if noiseless else cov + self.noise
        return loc + self.mean_function(Xnew), cov.expand(batch + cov.shape)
