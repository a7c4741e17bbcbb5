"""A linear model of two coefficients with known noise, whose posteriors and marginals are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.contrib.oed.glmm import group_linear_model, known_covariance_linear_model

NOISE = torch.tensor(2.0, dtype=torch.float64)
SDS = torch.tensor([0.5, 3.0], dtype=torch.float64)
DESIGNS = torch.tensor([[[1.0, 0.5], [0.2, 1.0], [0.0, 1.0]], [[0.1, 0.0], [0.0, 0.2], [0.3, 0.1]]]).double()

# The expected information gain is the mutual information of two jointly normal vectors.
SIGNAL = DESIGNS @ SDS.square().diag() @ DESIGNS.mT
MARGINAL_COV = SIGNAL + NOISE**2 * torch.eye(3, dtype=torch.float64)
TRUTH = 0.5 * (torch.logdet(MARGINAL_COV) - 3 * 2 * NOISE.log())

# The same for the first coefficient alone, the other being noise, too.
OTHER_COV = SDS[1] ** 2 * DESIGNS[..., 1:] @ DESIGNS[..., 1:].mT + NOISE**2 * torch.eye(3).double()
TRUTH_OF_FIRST = 0.5 * (torch.logdet(MARGINAL_COV) - torch.logdet(OTHER_COV))


def model() -> Any:
    return known_covariance_linear_model(torch.zeros(2).double(), SDS, NOISE)


def two_groups() -> Any:
    zero = torch.zeros(1).double()
    return group_linear_model(zero, SDS[:1], zero, SDS[1:], NOISE)


def posterior(design: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    precision = (1 / SDS.square()).diag() + design.mT @ design / NOISE**2
    cov = torch.linalg.inv(precision)
    return (cov @ (design.mT @ y.unsqueeze(-1))).squeeze(-1) / NOISE**2, cov


class PosteriorGuide(torch.nn.Module):
    """The posterior, with a learnable factor of its standard deviations."""

    def __init__(self, widen: float = 1.0) -> None:
        super().__init__()
        self.log_widen = torch.nn.Parameter(torch.tensor(widen).double().log())

    def forward(self, y_dict: Any, design: Tensor, observed: Any, targets: Any) -> None:
        ember.module("guide", self)
        mean, cov = posterior(design, y_dict["y"])
        ember.sample("w", dist.MultivariateNormal(mean, cov * (2 * self.log_widen).exp()))


class MarginalGuide(torch.nn.Module):
    """The marginal of the observations, likewise."""

    def __init__(self, widen: float = 1.0, of_second_given_first: bool = False) -> None:
        super().__init__()
        self.log_widen = torch.nn.Parameter(torch.tensor(widen).double().log())
        self.given_first = of_second_given_first

    def forward(self, *args: Any) -> None:
        ember.module(f"guide_{self.given_first}", self)
        mean, cov = torch.zeros(3).double(), MARGINAL_COV
        if self.given_first:
            theta, design = args[:2]
            mean, cov = design[..., 0] * theta["w1"], OTHER_COV
        ember.sample("y", dist.MultivariateNormal(mean, cov * (2 * self.log_widen).exp()))


class Ratio(torch.nn.Module):
    """``log p(y | w, d) - log p(y | d)``, times a learnable factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor).double())

    def forward(self, design: Tensor, trace: Any, observed: Any, targets: Any) -> Tensor:
        return self.of(design, trace.nodes["w"]["value"], trace.nodes["y"]["value"])

    def of(self, design: Tensor, w: Tensor, y: Tensor) -> Tensor:
        given = dist.Normal((design @ w.unsqueeze(-1)).squeeze(-1), NOISE).to_event(1).log_prob(y)
        alone = dist.MultivariateNormal(torch.zeros(3).double(), MARGINAL_COV).log_prob(y)
        return self.factor * (given - alone)


class FixedRatio(Ratio):
    """The same with the coefficients of the first run, as a classifier of observations has them."""

    w: Tensor | None = None

    def forward(self, design: Tensor, trace: Any, observed: Any, targets: Any) -> Tensor:
        self.w = trace.nodes["w"]["value"] if self.w is None else self.w
        return self.of(design, self.w, trace.nodes["y"]["value"])
