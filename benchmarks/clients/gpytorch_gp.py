"""GPyTorch's ``PyroGP``: a sparse Gaussian process, trained by SVI as in its documentation."""

from __future__ import annotations

from pathlib import Path

import gpytorch
import numpy as np
import torch

import pyro
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam

STEPS, POINTS, INDUCING = 60, 200, 20


class Process(gpytorch.models.PyroGP):
    """A curve of one input."""

    def __init__(self) -> None:
        inducing = torch.linspace(0.0, 1.0, INDUCING).unsqueeze(-1)
        posterior = gpytorch.variational.CholeskyVariationalDistribution(INDUCING)
        strategy = gpytorch.variational.VariationalStrategy(self, inducing, posterior)
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        super().__init__(strategy, likelihood, num_data=POINTS, name_prefix="curve")
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class Forgetful(Process):
    """The same without what GPyTorch keeps from one step to the next: its guide reads the posterior of the step before."""

    def guide(self, *args: torch.Tensor) -> object:
        self.variational_strategy._clear_cache()
        return super().guide(*args)

    def model(self, *args: torch.Tensor) -> object:
        result = super().model(*args)
        self.variational_strategy._clear_cache()
        return result


class Regression:
    """Noisy values of a sine."""

    library = "gpytorch"
    what = "`PyroGP`, 20 inducing points, as in its documentation"
    process = Process

    def build(self) -> None:
        torch.set_default_dtype(torch.float64)
        self.x = torch.linspace(0.0, 1.0, POINTS)
        self.y = torch.sin(6 * self.x) + 0.1 * torch.randn(POINTS)
        self.gp = self.process()

    def train(self) -> None:
        self.gp.train()
        objective = Trace_ELBO(
            num_particles=16, vectorize_particles=True, retain_graph=self.process is Process
        )
        svi = SVI(self.gp.model, self.gp.guide, Adam({"lr": 0.01}), objective)
        for _ in range(STEPS):
            self.gp.zero_grad()
            svi.step(self.x, self.y)

    def predict(self) -> np.ndarray:
        self.gp.eval()
        with torch.no_grad():
            return self.gp(self.x).mean.numpy()

    def save(self, folder: Path) -> None:
        torch.save(self.gp.state_dict(), folder / "gp.pt")

    def load(self, folder: Path) -> None:
        pyro.clear_param_store()
        self.gp = self.process()
        self.gp.load_state_dict(torch.load(folder / "gp.pt"))


CLIENT = Regression()
