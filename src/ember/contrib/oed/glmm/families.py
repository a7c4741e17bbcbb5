"""Linear models and their guides by name: what varies is given once, the design in each call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Size, Tensor

import ember.distributions as dist
from ember.contrib.oed.glmm.linear import bayesian_linear_model, normal_inv_gamma_family_guide
from ember.contrib.util import rmv
from ember.primitives import sample


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def known_covariance_linear_model(
    coef_means: Tensor | list[Tensor],
    coef_sds: Tensor | list[Tensor],
    observation_sd: Tensor,
    coef_labels: str | list[str] = "w",
    observation_label: str = "y",
) -> Any:
    """Linear regression with independent normal coefficients and known noise.

    Args:
        coef_means: prior means, one tensor or a list.
        coef_sds: prior standard deviations, ``(p,)`` each; they are what they say for any noise.
        observation_sd: the noise's standard deviation.
        coef_labels: their sites.
        observation_label: the site of the observations.

    Returns:
        A program of the design. Its attributes ``obs_sd``, ``w_sds``, ``w_sizes``, ``observation_label`` and
            ``coef_labels`` say what it is made of.
    """
    labels, sds = _listed(coef_labels), _listed(coef_sds)
    model: Any = _with_known_noise(labels, _listed(coef_means), sds, observation_sd, observation_label)
    model.w_sizes = {label: sd.shape[-1] for label, sd in model.w_sds.items()}
    model.observation_label = observation_label
    model.coef_labels = labels
    return model


def _with_known_noise(
    labels: list[str], means: list[Tensor], sds: list[Tensor], observation_sd: Tensor, observation_label: str
) -> Any:
    # As many as the shortest of the lists.
    named = list(zip(labels, means, sds, strict=False))
    model: Any = partial(
        bayesian_linear_model,
        w_means={label: mean for label, mean, _ in named},
        w_sqrtlambdas={label: observation_sd / sd for label, _, sd in named},
        obs_sd=observation_sd,
        response_label=observation_label,
    )
    model.obs_sd = observation_sd
    model.w_sds = {label: sd for label, _, sd in named}
    return model


def normal_guide(observation_sd: Tensor, coef_shape: Size, coef_label: str = "w") -> Any:
    """A multivariate normal for one group of coefficients.

    Args:
        observation_sd: the noise's standard deviation.
        coef_shape: ``(p,)``.
        coef_label: the site.
    """
    return partial(normal_inv_gamma_family_guide, obs_sd=observation_sd, w_sizes={coef_label: coef_shape})


def group_linear_model(
    coef1_mean: Tensor,
    coef1_sd: Tensor,
    coef2_mean: Tensor,
    coef2_sd: Tensor,
    observation_sd: Tensor,
    coef1_label: str = "w1",
    coef2_label: str = "w2",
    observation_label: str = "y",
) -> Any:
    """Linear regression with two groups of coefficients, and known noise.

    Args:
        coef1_mean: prior means of the first group.
        coef1_sd: prior standard deviations.
        coef2_mean: prior means of the second group.
        coef2_sd: prior standard deviations.
        observation_sd: the noise's standard deviation.
        coef1_label: the site of the first group.
        coef2_label: the site of the second group.
        observation_label: the site of the observations.

    Returns:
        A program of the design, with attributes ``obs_sd`` and ``w_sds``.
    """
    return _with_known_noise(
        [coef1_label, coef2_label],
        [coef1_mean, coef2_mean],
        [coef1_sd, coef2_sd],
        observation_sd,
        observation_label,
    )


def group_normal_guide(
    observation_sd: Tensor,
    coef1_shape: Size,
    coef2_shape: Size,
    coef1_label: str = "w1",
    coef2_label: str = "w2",
) -> Any:
    """Two independent multivariate normals, for the two groups of :func:`group_linear_model`.

    Args:
        observation_sd: the noise's standard deviation.
        coef1_shape: ``(p1,)``.
        coef2_shape: ``(p2,)``.
        coef1_label: the site of the first group.
        coef2_label: the site of the second group.
    """
    return partial(
        normal_inv_gamma_family_guide,
        w_sizes={coef1_label: coef1_shape, coef2_label: coef2_shape},
        obs_sd=observation_sd,
    )


def zero_mean_unit_obs_sd_lm(coef_sd: Tensor, coef_label: str = "w") -> tuple[Any, Any]:
    """Linear regression with prior means 0 and noise of variance 1, and its guide.

    Args:
        coef_sd: prior standard deviations, ``(p,)``.
        coef_label: the site.
    """
    one = torch.tensor(1.0)
    model = known_covariance_linear_model(torch.tensor(0.0), coef_sd, one, coef_labels=coef_label)
    return model, normal_guide(one, coef_sd.shape, coef_label=coef_label)


def normal_inverse_gamma_linear_model(
    coef_mean: Tensor,
    coef_sqrtlambda: Tensor,
    alpha: Tensor,
    beta: Tensor,
    coef_label: str = "w",
    observation_label: str = "y",
) -> Any:
    """Linear regression with unknown noise, and its conjugate prior.

    Args:
        coef_mean: prior means.
        coef_sqrtlambda: the noise's standard deviation over that of the prior, ``(p,)``.
        alpha: the shape of the Gamma distribution of the noise's precision "tau".
        beta: the rate of this.
        coef_label: the site of the coefficients.
        observation_label: the site of the observations.
    """
    return partial(
        bayesian_linear_model,
        w_means={coef_label: coef_mean},
        w_sqrtlambdas={coef_label: coef_sqrtlambda},
        alpha_0=alpha,
        beta_0=beta,
        response_label=observation_label,
    )


def normal_inverse_gamma_guide(coef_shape: Size, coef_label: str = "w", **kwargs: Any) -> Any:
    """The guide of :func:`normal_inverse_gamma_linear_model`.

    Args:
        coef_shape: ``(p,)``.
        coef_label: the site of the coefficients.
        kwargs: ``mf``: let the coefficients not depend on the noise.
    """
    return partial(normal_inv_gamma_family_guide, obs_sd=None, w_sizes={coef_label: coef_shape}, **kwargs)


def logistic_regression_model(
    coef_mean: Tensor, coef_sd: Tensor, coef_label: str = "w", observation_label: str = "y"
) -> Any:
    """Logistic regression with independent normal coefficients.

    Args:
        coef_mean: prior means.
        coef_sd: prior standard deviations, ``(p,)``.
        coef_label: the site of the coefficients.
        observation_label: the site of the observations.
    """
    return partial(
        bayesian_linear_model,
        w_means={coef_label: coef_mean},
        w_sqrtlambdas={coef_label: 1.0 / coef_sd},
        obs_sd=torch.tensor(1.0),
        response="bernoulli",
        response_label=observation_label,
    )


def lmer_model(
    fixed_effects_sd: Tensor,
    n_groups: int,
    random_effects_alpha: Tensor,
    random_effects_beta: Tensor,
    fixed_effects_label: str = "w",
    random_effects_label: str = "u",
    observation_label: str = "y",
    response: str = "normal",
) -> Any:
    """Regression with fixed effects around zero, and random effects whose precision is drawn.

    Args:
        fixed_effects_sd: prior standard deviations, ``(p,)``.
        n_groups: how many random effects share their precisions.
        random_effects_alpha: shapes of the Gamma distributions of these.
        random_effects_beta: rates of them.
        fixed_effects_label: the site of the fixed effects.
        random_effects_label: the site of the random effects; their precisions are at ``"G_" + random_effects_label``.
        observation_label: the site of the observations.
        response: "normal" (with noise of variance 1) or "bernoulli".
    """
    return partial(
        bayesian_linear_model,
        response=response,
        response_label=observation_label,
        obs_sd=torch.tensor(1.0),
        w_means={fixed_effects_label: torch.tensor(0.0)},
        w_sqrtlambdas={fixed_effects_label: fixed_effects_sd.reciprocal()},
        re_group_sizes={random_effects_label: n_groups},
        re_betas={random_effects_label: random_effects_beta},
        re_alphas={random_effects_label: random_effects_alpha},
    )


def sigmoid_model(
    coef1_mean: Tensor,
    coef1_sd: Tensor,
    coef2_mean: Tensor,
    coef2_sd: Tensor,
    observation_sd: Tensor,
    sigmoid_alpha: Tensor,
    sigmoid_beta: Tensor,
    sigmoid_design: Tensor,
    coef1_label: str = "w1",
    coef2_label: str = "w2",
    observation_label: str = "y",
    sigmoid_label: str = "k",
) -> Callable[[Tensor], Any]:
    """Two groups of coefficients, whose responses pass through sigmoids with slopes from Gamma distributions.

    Args:
        coef1_mean: prior means of the first group.
        coef1_sd: prior standard deviations.
        coef2_mean: prior means of the second group.
        coef2_sd: prior standard deviations.
        observation_sd: the noise's standard deviation, before the sigmoid.
        sigmoid_alpha: shapes of the Gamma distributions, ``(m,)``.
        sigmoid_beta: rates of them, ``(m,)``.
        sigmoid_design: from slopes to observations, ``(n, m)``.
        coef1_label: the site of the first group.
        coef2_label: the site of the second group.
        observation_label: the site of the observations.
        sigmoid_label: the site of the slopes.
    """
    linear = group_linear_model(
        coef1_mean,
        coef1_sd,
        coef2_mean,
        coef2_sd,
        observation_sd,
        coef1_label,
        coef2_label,
        observation_label,
    )

    def model(design: Tensor) -> Any:
        shape = (*design.shape[:-2], sigmoid_design.shape[-1])
        slopes = dist.Gamma(sigmoid_alpha.expand(shape), sigmoid_beta.expand(shape)).to_event(1)
        k = rmv(sigmoid_design, sample(sigmoid_label, slopes))
        return linear(design, response="sigmoid", k=k)

    return model
