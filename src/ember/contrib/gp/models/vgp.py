"""Variational inference of all values of the function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor
from torch.nn import Parameter

from ember.contrib.gp.kernels.kernel import Kernel
from ember.contrib.gp.likelihoods.likelihood import Likelihood
from ember.contrib.gp.models.model import GPModel, Mean, first_factors, identity_factors, latent_normal
from ember.nn import pyro_method
from ember.primitives import sample


class VariationalGP(GPModel):
    """Data of any likelihood, and a normal distribution over the function's values at all inputs as guide.

    Args:
        X: the inputs.
        y: the outputs.
        kernel: the covariance function.
        likelihood: of the data, given the function.
        mean_function: the prior's mean; zero if None.
        latent_shape: how many functions there are; those of the outputs, ``y.shape[:-1]``, if None.
        whiten: the guide is one of ``Lff^-1 f``, which is easier to fit.
        jitter: added to the diagonal of covariances.
    """

    f_loc: Tensor
    f_scale_tril: Tensor

    def __init__(
        self,
        X: Tensor,
        y: Tensor | None,
        kernel: Kernel,
        likelihood: Likelihood,
        mean_function: Mean | None = None,
        latent_shape: Size | None = None,
        whiten: bool = False,
        jitter: float = 1e-6,
    ) -> None:
        super().__init__(X, y, kernel, mean_function, jitter)
        self.likelihood = likelihood
        outputs = Size() if self.y is None else self.y.shape[:-1]
        self.latent_shape = Size(outputs if latent_shape is None else latent_shape)
        f_loc = self.X.new_zeros(self.latent_shape + (self.X.size(0),))
        self.f_loc = Parameter(f_loc)
        self.f_scale_tril = first_factors(f_loc.shape, f_loc)
        self.whiten = whiten

    @pyro_method
    def model(self) -> Any:
        """The prior of the function, and the likelihood of the data under the guide's means and variances."""
        self.set_mode("model")
        Lff = self._covariance_factor(self.X)
        zero_loc = torch.zeros_like(self.f_loc)
        f_loc = self.f_loc
        if self.whiten:
            sample(
                self._pyro_get_fullname("f"), latent_normal(zero_loc, identity_factors(f_loc.shape, f_loc))
            )
            f_scale_tril = Lff @ self.f_scale_tril
            f_loc = (Lff @ f_loc.unsqueeze(-1)).squeeze(-1)
        else:
            sample(self._pyro_get_fullname("f"), latent_normal(zero_loc, Lff))
            f_scale_tril = self.f_scale_tril
        f_loc = f_loc + self.mean_function(self.X)
        f_var = f_scale_tril.square().sum(-1)
        return (f_loc, f_var) if self.y is None else self.likelihood(f_loc, f_var, self.y)

    @pyro_method
    def guide(self) -> None:
        """The distribution of the function's values, and the guides of random parameters."""
        self.set_mode("guide")
        self._load_pyro_samples()
        sample(self._pyro_get_fullname("f"), latent_normal(self.f_loc, self.f_scale_tril))

    def forward(self, Xnew: Tensor, full_cov: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and variances, or covariances, of the function at new inputs.

        Args:
            Xnew: of shape (M, ...).
            full_cov: covariances.
        """
        return self._given(Xnew, self.X, (self.f_loc, self.f_scale_tril), self.whiten, full_cov)
