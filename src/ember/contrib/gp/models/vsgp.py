"""Variational inference of the function's values at inducing points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor
from torch.nn import Parameter

from ember import poutine
from ember.contrib.gp.kernels.kernel import Kernel
from ember.contrib.gp.likelihoods.likelihood import Likelihood
from ember.contrib.gp.models.model import GPModel, Mean, first_factors, identity_factors, latent_normal
from ember.contrib.gp.util import conditional
from ember.nn import pyro_method
from ember.primitives import sample


class VariationalSparseGP(GPModel):
    """Data of any likelihood, M inducing points, minibatches: O(N M^2) a step.

    J. Hensman, A. Matthews and Z. Ghahramani (2015), *Scalable variational Gaussian process classification*.

    Args:
        X: the inputs.
        y: the outputs.
        kernel: the covariance function.
        Xu: the first inducing points, (M, ...); they are learned.
        likelihood: of the data, given the function.
        mean_function: the prior's mean; zero if None.
        latent_shape: how many functions there are; those of the outputs, ``y.shape[:-1]``, if None.
        num_data: how many data there are, if ``X`` and ``y`` are a minibatch of them.
        whiten: the guide is one of ``Luu^-1 u``, which is easier to fit.
        jitter: added to the diagonal of covariances.
    """

    Xu: Tensor
    u_loc: Tensor
    u_scale_tril: Tensor

    def __init__(
        self,
        X: Tensor,
        y: Tensor | None,
        kernel: Kernel,
        Xu: Tensor,
        likelihood: Likelihood,
        mean_function: Mean | None = None,
        latent_shape: Size | None = None,
        num_data: int | None = None,
        whiten: bool = False,
        jitter: float = 1e-6,
    ) -> None:
        super().__init__(X, y, kernel, mean_function, jitter)
        self.likelihood = likelihood
        self.Xu = Parameter(Xu.detach().clone())
        outputs = Size() if self.y is None else self.y.shape[:-1]
        self.latent_shape = Size(outputs if latent_shape is None else latent_shape)
        u_loc = self.Xu.new_zeros(self.latent_shape + (self.Xu.size(0),))
        self.u_loc = Parameter(u_loc)
        self.u_scale_tril = first_factors(u_loc.shape, u_loc)
        self.num_data = self.X.size(0) if num_data is None else num_data
        self.whiten = whiten

    @pyro_method
    def model(self) -> Any:
        """The prior at the inducing points, and the likelihood of the data under the guide."""
        self.set_mode("model")
        Xu = self.Xu
        Luu = self._covariance_factor(Xu)
        zero_loc = torch.zeros_like(self.u_loc)
        prior_tril = identity_factors(zero_loc.shape, zero_loc) if self.whiten else Luu
        sample(self._pyro_get_fullname("u"), latent_normal(zero_loc, prior_tril))
        f_loc, f_var = conditional(
            self.X,
            Xu,
            self.kernel,
            self.u_loc,
            self.u_scale_tril,
            Luu,
            full_cov=False,
            whiten=self.whiten,
            jitter=self.jitter,
        )
        f_loc = f_loc + self.mean_function(self.X)
        if self.y is None:
            return f_loc, f_var
        with poutine.scale(scale=self.num_data / self.X.size(0)):
            return self.likelihood(f_loc, f_var, self.y)

    @pyro_method
    def guide(self) -> None:
        """The distribution at the inducing points, and the guides of random parameters."""
        self.set_mode("guide")
        self._load_pyro_samples()
        sample(self._pyro_get_fullname("u"), latent_normal(self.u_loc, self.u_scale_tril))

    def forward(self, Xnew: Tensor, full_cov: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and variances, or covariances, of the function at new inputs.

        Args:
            Xnew: of shape (M, ...).
            full_cov: covariances.
        """
        return self._given(Xnew, self.Xu, (self.u_loc, self.u_scale_tril), self.whiten, full_cov)
