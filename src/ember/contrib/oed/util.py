"""Known answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ember.contrib.oed.glmm import analytic_posterior_cov
from ember.contrib.util import get_indices
from ember.infer.autoguide import mean_field_entropy


def linear_model_ground_truth(
    model: Any, design: Tensor, observation_labels: Any, target_labels: str | Sequence[str], eig: bool = True
) -> Tensor:
    """The expected information gain of designs in a linear model with known noise, in closed form.

    Args:
        model: by :func:`~ember.contrib.oed.glmm.known_covariance_linear_model`, or one with its attributes ``w_sds`` and
            ``obs_sd``.
        design: ``(..., n, p)``.
        observation_labels: without effect.
        target_labels: coefficients of interest.
        eig: if false, the posterior entropy instead.

    Shapes: the result is ``(...)``.

    >>> from ember.contrib.oed.glmm import known_covariance_linear_model
    >>> model = known_covariance_linear_model(torch.tensor(0.0), torch.tensor([1.0]), torch.tensor(1.0))
    >>> linear_model_ground_truth(model, torch.tensor([[[3.0]]]), "y", "w")  # log(10) / 2
    tensor([1.1513])
    """
    targets = [target_labels] if isinstance(target_labels, str) else list(target_labels)
    prior_cov = torch.cat(list(model.w_sds.values()), dim=-1).square().diag()
    wanted = get_indices(targets, tensors=model.w_sds)
    entropies = []
    for x in design.reshape(-1, *design.shape[-2:]).unbind():
        cov = analytic_posterior_cov(prior_cov, x, model.obs_sd)[wanted][:, wanted]
        entropies.append(0.5 * torch.logdet(2 * math.pi * math.e * cov))
    posterior_entropy = torch.stack(entropies).reshape(design.shape[:-2])
    if not eig:
        return posterior_entropy
    return mean_field_entropy(model, [design], whitelist=targets) - posterior_entropy  # type: ignore[no-any-return]
