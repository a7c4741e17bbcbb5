"""What a row of a density costs: the log joint density and its score, by ``ember.density`` and by a batched torch function.

The batched function is written by hand for the model: all rows at once, the score by autograd. Each time is of this process's
processor, with one thread, the best of several turns that alternate. Before that, both must give the same numbers. Beside them
stands what one step of ``svi.run`` costs, with a normal guide of independent coordinates: one density and score, and all else
that a step does.

    python -m benchmarks.rows [--quick] [--models NAME,...] [--rows 256,4096,32768]
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDiagonalNormal
from ember.optim import Adam

ROWS = (256, 4096, 32768)
TURNS, QUICK_TURNS = 7, 1


@dataclass(frozen=True)
class Target:
    """A model, its data, and its log density at all rows at once."""

    model: Callable[..., Any]
    args: tuple[Tensor, ...]
    batched: Callable[[Tensor], Tensor]


def normal_regression(num_rows: int, num_columns: int) -> Target:
    """A linear regression with a noise scale to be found."""
    x, y = torch.randn(num_rows, num_columns), torch.randn(num_rows)

    def model(x: Tensor, y: Tensor) -> None:
        b = ember.sample("b", dist.Normal(torch.zeros(num_columns), 1.0).to_event(1))
        scale = ember.sample("scale", dist.HalfNormal(1.0))
        with ember.plate("data", num_rows):
            ember.sample("y", dist.Normal(x @ b, scale), obs=y)

    def batched(u: Tensor) -> Tensor:
        b, log_scale = u[:, :num_columns], u[:, num_columns]
        z = (y - b @ x.T) / log_scale.exp()[:, None]
        prior = -0.5 * (b**2).sum(-1) - 0.5 * log_scale.exp() ** 2 + log_scale
        constant = (num_rows + num_columns) * 0.5 * math.log(2 * math.pi) - 0.5 * math.log(2 / math.pi)
        return prior - 0.5 * (z**2).sum(-1) - num_rows * log_scale - constant

    return Target(model, (x, y), batched)


def logistic_regression(num_rows: int, num_columns: int) -> Target:
    """A logistic regression."""
    x = torch.randn(num_rows, num_columns)
    y = (torch.rand(num_rows) < 0.5).to(x.dtype)

    def model(x: Tensor, y: Tensor) -> None:
        b = ember.sample("b", dist.Normal(torch.zeros(num_columns), 1.0).to_event(1))
        with ember.plate("data", num_rows):
            ember.sample("y", dist.Bernoulli(logits=x @ b), obs=y)

    def batched(u: Tensor) -> Tensor:
        logits = u @ x.T
        likelihood = y * logits - torch.nn.functional.softplus(logits)
        return likelihood.sum(-1) - 0.5 * (u**2).sum(-1) - 0.5 * num_columns * math.log(2 * math.pi)

    return Target(model, (x, y), batched)


def eight_schools() -> Target:
    """The centred model."""
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def model(y: Tensor, sigma: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 5.0))
        tau = ember.sample("tau", dist.HalfCauchy(5.0))
        with ember.plate("schools", 8):
            theta = ember.sample("theta", dist.Normal(mu, tau))
            ember.sample("y", dist.Normal(theta, sigma), obs=y)

    normal, cauchy = torch.distributions.Normal, torch.distributions.HalfCauchy(5.0)

    def batched(u: Tensor) -> Tensor:
        mu, log_tau, theta = u[:, :1], u[:, 1:2], u[:, 2:]
        tau = log_tau.exp()
        prior = normal(0.0, 5.0).log_prob(mu) + cauchy.log_prob(tau) + log_tau
        return prior[:, 0] + (normal(mu, tau).log_prob(theta) + normal(theta, sigma).log_prob(y)).sum(-1)

    return Target(model, (y, sigma), batched)


def garch(length: int) -> Target:
    """GARCH(1, 1): a variance that each day hands on to the next, by a plain loop of Python in both."""
    y = torch.randn(length)

    def variances(omega: Any, alpha: Any, beta: Any) -> Iterator[Any]:
        variance = 1.0 + 0.0 * omega
        for t in range(length):
            yield variance
            variance = omega + alpha * y[t] ** 2 + beta * variance

    def model(y: Tensor) -> None:
        omega = ember.sample("omega", dist.HalfNormal(1.0))
        alpha = ember.sample("alpha", dist.Beta(1.0, 1.0))
        beta = ember.sample("beta", dist.Beta(1.0, 1.0))
        scale = torch.stack(list(variances(omega, alpha, beta))).sqrt()
        with ember.plate("days", length):
            ember.sample("y", dist.Normal(0.0, scale), obs=y)

    def batched(u: Tensor) -> Tensor:
        omega, alpha, beta = u[:, 0].exp(), u[:, 1].sigmoid(), u[:, 2].sigmoid()
        scale = torch.stack(list(variances(omega, alpha, beta)), -1).sqrt()
        jacobian = u[:, 0] + (alpha * (1 - alpha) * beta * (1 - beta)).log()
        prior = -0.5 * omega**2 + 0.5 * math.log(2 / math.pi)
        return prior + jacobian + torch.distributions.Normal(0.0, scale).log_prob(y).sum(-1)

    return Target(model, (y,), batched)


def gaussian_process(num_points: int) -> Target:
    """A Gaussian process with a squared exponential kernel."""
    x = torch.linspace(0, 5, num_points)
    y, eye = torch.sin(x), torch.eye(num_points)
    squares = (x[:, None] - x) ** 2

    def model(y: Tensor) -> None:
        length = ember.sample("length", dist.LogNormal(0.0, 1.0))
        noise = ember.sample("noise", dist.LogNormal(0.0, 1.0))
        covariance = torch.exp(-0.5 * squares / length**2) + noise * eye
        ember.sample("y", dist.MultivariateNormal(torch.zeros(num_points), covariance), obs=y)

    def batched(u: Tensor) -> Tensor:
        length, noise = u[:, 0].exp()[:, None, None], u[:, 1].exp()[:, None, None]
        factor = torch.linalg.cholesky(torch.exp(-0.5 * squares / length**2) + noise * eye)
        z = torch.linalg.solve_triangular(factor, y[:, None].expand(len(u), -1, 1), upper=False)[..., 0]
        likelihood = -0.5 * (z**2).sum(-1) - factor.diagonal(dim1=-1, dim2=-2).log().sum(-1)
        constant = (1 + 0.5 * num_points) * math.log(2 * math.pi)
        return likelihood - 0.5 * (u**2).sum(-1) - constant

    return Target(model, (y,), batched)


MODELS: dict[str, Callable[[], Target]] = {
    "eight_schools": eight_schools,
    "regression_20x3": lambda: normal_regression(20, 3),
    "regression_100x5": lambda: normal_regression(100, 5),
    "regression_1000x10": lambda: normal_regression(1000, 10),
    "regression_1000x100": lambda: normal_regression(1000, 100),
    "logistic_500x20": lambda: logistic_regression(500, 20),
    "garch_200": lambda: garch(200),
    "gp_50": lambda: gaussian_process(50),
}
_LONG_ROWS = {"regression_1000x100", "garch_200", "gp_50"}
"""Not for the largest number of rows: a batched function would take gigabytes."""


def with_score(batched: Callable[[Tensor], Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """The log density at all rows, and its gradient."""
    leaf = u.detach().requires_grad_()
    value = batched(leaf)
    (score,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), score


def check(density: ember.Density, target: Target) -> None:
    """Both must give the same numbers.

    Raises:
        AssertionError: if they do not.
    """
    u = 0.5 * torch.randn(20, density.dim)
    for own, wanted in zip(density(u), with_score(target.batched, u), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-8, atol=1e-8)


def best_times(contenders: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Seconds of the processor, the best of turns that alternate."""
    best = dict.fromkeys(contenders, math.inf)
    for _ in range(turns):
        for name, run in contenders.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - started)
    return best


def step_time(target: Target, turns: int) -> float:
    """Seconds of a step of ``svi.run``."""
    ember.clear_param_store()
    svi = SVI(target.model, AutoDiagonalNormal(target.model), Adam({"lr": 1e-3}), Trace_ELBO(), compile=True)
    svi.run(50, *target.args, progress=False)
    run = best_times({"run": lambda: svi.run(1000, *target.args, progress=False)}, turns)["run"]
    return run / 1000


def table(models: list[str], counts: list[int], turns: int) -> Iterator[str]:
    """Lines of a table, as they come."""
    yield "| model | D | rows | `ember.density`, µs a row | batched torch, µs | ratio | a step of `run`, µs |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name in models:
        torch.manual_seed(0)
        target = MODELS[name]()
        density = ember.density(target.model, *target.args)
        check(density, target)
        step = 1e6 * step_time(target, turns)
        for count in counts:
            if count > 4096 and name in _LONG_ROWS:
                continue
            u = 0.3 * torch.randn(count, density.dim)
            density(u)
            best = best_times(
                {"ember": partial(density, u), "batched": partial(with_score, target.batched, u)}, turns
            )
            own, other = (1e6 * best[which] / count for which in ("ember", "batched"))
            yield f"| {name} | {density.dim} | {count} | {own:.2f} | {other:.2f} | {own / other:.2f} | {step:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? the times mean nothing")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    given = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    models = given.models.split(",")
    unknown = sorted(set(models) - set(MODELS))
    if unknown:
        sys.exit(f"no models {unknown}; there are {', '.join(MODELS)}")
    counts = [64] if given.quick else [int(count) for count in given.rows.split(",")]
    with ember.settings.context(threads=1):
        for line in table(models, counts, QUICK_TURNS if given.quick else TURNS):
            print(line, flush=True)


if __name__ == "__main__":
    main()
