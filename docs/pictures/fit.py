"""Draws docs/pictures/fit_schools.png: two fits beside the exact posterior, one to believe and one not."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import ClippedAdam

FOLDER = Path(__file__).parent
Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
BLUE, RED, BLACK = "#2a6f97", "#c1121f", "#222222"


def schools(y: Tensor, sigma: Tensor) -> None:
    """Eight schools, centred (Rubin, 1981)."""
    mu = ember.sample("mu", dist.Normal(0.0, 5.0))
    tau = ember.sample("tau", dist.HalfCauchy(5.0))
    with ember.plate("schools", len(y)):
        theta = ember.sample("theta", dist.Normal(mu, tau))
        ember.sample("y", dist.Normal(theta, sigma), obs=y)


def exact_tau(grid: Tensor) -> Tensor:
    """The posterior density of tau: effects and their mean are integrated out by hand."""
    variance = SIGMA.double().square() + grid.unsqueeze(-1).square()
    precision = (1 / variance).sum(-1) + 1 / 25
    mean = (Y / variance).sum(-1) / precision
    log_p = (
        -0.5 * (variance.log() + Y.square() / variance).sum(-1)
        - 0.5 * precision.log()
        + 0.5 * mean.square() * precision
        + dist.HalfCauchy(5.0).log_prob(grid)
    )
    density = (log_p - log_p.max()).exp()
    return density / torch.trapezoid(density, grid)


def recipe() -> Tensor:
    """Draws of tau by the usual recipe: a mean-field guide, ClippedAdam, 8,000 steps."""
    ember.set_rng_seed(0)
    ember.clear_param_store()
    guide = AutoNormal(schools)
    svi = SVI(schools, guide, ClippedAdam({"lr": 0.01}), Trace_ELBO(), compile=True)
    svi.run(8000, Y, SIGMA, progress=False)
    draws: Tensor = Predictive(schools, guide=guide, num_samples=4000, return_sites=["tau"])(Y, SIGMA)["tau"]
    return draws.reshape(-1)


def drawn(axes: Axes, draws: Tensor, color: str, label: str) -> None:
    """A histogram."""
    axes.hist(draws.numpy(), bins=60, range=(0, 20), density=True, color=color, alpha=0.5, label=label)


def main() -> None:
    """Draw the picture."""
    grid = torch.linspace(0.01, 20, 800, dtype=torch.float64)
    exact = exact_tau(grid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = ember.fit(schools, Y, SIGMA, seed=0, progress=False)
        usual = recipe()
    figure = Figure(figsize=(9, 3.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    drawn(left, fit.draws["tau"], BLUE, f"ember.fit: {fit.verdict.status}")
    drawn(right, usual, RED, "mean-field guide, 8,000 steps")
    for axes in (left, right):
        axes.plot(grid, exact, color=BLACK, linewidth=1.5, label="exact")
        axes.set(xlabel="tau, the spread between schools", xlim=(0, 20), yticks=[])
        axes.legend(frameon=False, fontsize=9)
    figure.savefig(FOLDER / "fit_schools.png")


if __name__ == "__main__":
    main()
