"""Posteriors that are linear in the observations, as those of linear models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import ember.distributions as dist
from ember.contrib.oed.glmm.linear import precision_of_noise
from ember.contrib.util import lexpand, rmv, rtril, rvv
from ember.modules import module
from ember.primitives import sample

Tensors = dict[str, Tensor]


def shape_of(d: int | Sequence[int] | Tensor) -> tuple[int, ...]:
    """A shape; a number stands for one dim."""
    if isinstance(d, int):
        return (d,)
    return tuple(int(size) for size in d)


class LinearModelPosteriorGuide(nn.Module):
    """Multivariate normals whose means are linear in the observations, with parameters for each design.

    Args:
        d: the batch shape of the designs.
        w_sizes: how many coefficients each target has, by name.
        y_sizes: how many observations each site has, by name.
        regressor_init: the matrices from observations to means, at first.
        scale_tril_init: the diagonals of the scales, at first.
        use_softplus: let the matrices be positive.
        kwargs: without effect.

    Called with observations by name, a design, and the names of observations and targets.

    >>> guide = LinearModelPosteriorGuide((2,), {"w": 3}, {"y": 5})
    >>> guide({"y": torch.zeros(2, 5)}, torch.zeros(2, 5, 3), ["y"], ["w"])
    """

    def __init__(
        self,
        d: int | Sequence[int] | Tensor,
        w_sizes: Mapping[str, int],
        y_sizes: Mapping[str, int],
        regressor_init: float = 0.0,
        scale_tril_init: float = 3.0,
        use_softplus: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        shape = shape_of(d)
        observations = sum(y_sizes.values())
        self.regressor = nn.ParameterDict(
            {
                label: nn.Parameter(regressor_init * torch.ones(*shape, size, observations))
                for label, size in w_sizes.items()
            }
        )
        self.scale_tril = nn.ParameterDict(
            {
                label: nn.Parameter(scale_tril_init * lexpand(torch.eye(size), *shape))
                for label, size in w_sizes.items()
            }
        )
        self.w_sizes = w_sizes
        self.use_softplus = use_softplus
        self.softplus = nn.Softplus()

    def get_params(self, y_dict: Mapping[str, Tensor], design: Tensor, target_labels: Sequence[str]) -> Any:
        """The parameters of the posterior given observations."""
        return self.linear_model_formula(torch.cat(list(y_dict.values()), dim=-1), design, target_labels)

    def linear_model_formula(
        self, y: Tensor, design: Tensor, target_labels: Sequence[str]
    ) -> tuple[Tensors, Tensors]:
        """Means and scales, by target, for all observations side by side."""
        means = {}
        for label in target_labels:
            regressor = self.regressor[label]
            means[label] = rmv(softplus(regressor) if self.use_softplus else regressor, y)
        return means, {label: rtril(self.scale_tril[label]) for label in target_labels}

    def forward(
        self,
        y_dict: Mapping[str, Tensor],
        design: Tensor,
        observation_labels: Sequence[str],
        target_labels: Sequence[str],
    ) -> None:
        module("posterior_guide", self)
        means, scales = self.get_params(y_dict, design, target_labels)
        for label in target_labels:
            sample(label, dist.MultivariateNormal(means[label], scale_tril=scales[label]))


class SigmoidGuide(LinearModelPosteriorGuide):
    """The same for observations that went through a sigmoid: linear in what a small network makes of their log odds.

    Args:
        d: the batch shape of the designs.
        n: how many observations there are.
        w_sizes: how many coefficients each target has, by name.
        kwargs: those of :class:`LinearModelPosteriorGuide`; ``y_sizes`` is needed.
    """

    def __init__(
        self, d: int | Sequence[int] | Tensor, n: int, w_sizes: Mapping[str, int], **kwargs: Any
    ) -> None:
        super().__init__(d, w_sizes, **kwargs)
        self.inverse_sigmoid_scale = nn.Parameter(torch.ones(n))
        self.h1_weight = nn.Parameter(torch.ones(n))
        self.h1_bias = nn.Parameter(torch.zeros(n))

    def get_params(self, y_dict: Mapping[str, Tensor], design: Tensor, target_labels: Sequence[str]) -> Any:
        """Means and scales, by target."""
        y = torch.cat(list(y_dict.values()), dim=-1)
        log_odds = y.clamp(1e-35, 1).log() - (1.0 - y).clamp(1e-35, 1).log()
        scaled = log_odds / 0.1 * self.inverse_sigmoid_scale
        bent = scaled + softplus(scaled) * self.h1_weight + self.h1_bias
        return self.linear_model_formula(bent, design, target_labels)


class NormalInverseGammaGuide(LinearModelPosteriorGuide):
    """The same for unknown noise: its precision is Gamma, with a rate that depends on the residuals.

    Args:
        d: the batch shape of the designs.
        w_sizes: how many coefficients each target has, by name.
        mf: let the coefficients not depend on the noise.
        tau_label: the site of the noise's precision.
        alpha_init: the shape of its Gamma distribution, at first.
        b0_init: the rate without residuals, at first.
        kwargs: those of :class:`LinearModelPosteriorGuide`; ``y_sizes`` is needed.

    Raises:
        ValueError: when it is called without the precision among the targets, unless ``mf``.
    """

    def __init__(
        self,
        d: int | Sequence[int] | Tensor,
        w_sizes: Mapping[str, int],
        mf: bool = False,
        tau_label: str = "tau",
        alpha_init: float = 100.0,
        b0_init: float = 100.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(d, w_sizes, **kwargs)
        self.alpha = nn.Parameter(alpha_init * torch.ones(shape_of(d)))
        self.b0 = nn.Parameter(b0_init * torch.ones(shape_of(d)))
        self.mf = mf
        self.tau_label = tau_label

    def get_params(self, y_dict: Mapping[str, Tensor], design: Tensor, target_labels: Sequence[str]) -> Any:
        """Means and scales, by target, and the shape and rate of the precision."""
        y = torch.cat(list(y_dict.values()), dim=-1)
        coefficients = [label for label in target_labels if label != self.tau_label]
        means, scales = self.linear_model_formula(y, design, coefficients)
        fitted = rmv(design, torch.cat(list(means.values()), dim=-1))
        rate = self.b0 + 0.5 * (rvv(y, y) - rvv(y, fitted))
        return means, scales, self.alpha, rate

    def forward(
        self,
        y_dict: Mapping[str, Tensor],
        design: Tensor,
        observation_labels: Sequence[str],
        target_labels: Sequence[str],
    ) -> None:
        module("ba_guide", self)
        means, scales, alpha, rate = self.get_params(y_dict, design, target_labels)
        noise: Any = 1.0
        if self.tau_label in target_labels:
            noise = 1.0 / sample(self.tau_label, precision_of_noise(alpha, rate)).sqrt().unsqueeze(-1)
        elif not self.mf:
            raise ValueError(
                f"the coefficients depend on the noise's precision: name {self.tau_label!r} among the targets, or give mf=True"
            )
        for label, mean in means.items():
            scale = scales[label] if self.mf else scales[label] * noise
            sample(label, dist.MultivariateNormal(mean, scale_tril=scale))
