"""The entropy of the prior, which average posterior entropies are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ember.contrib.oed.eig.runs import Labels, Program, labels_of, log_prob, traced
from ember.contrib.util import lexpand
from ember.infer.autoguide import mean_field_entropy


def monte_carlo_entropy(
    model: Program, design: Tensor, target_labels: Labels, num_prior_samples: int = 1000
) -> Tensor:
    """The entropy of sites, estimated by draws.

    Args:
        model: takes a design.
        design: one or several.
        target_labels: the sites.
        num_prior_samples: how many draws.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> _ = torch.manual_seed(0)
    >>> def model(design):
    ...     with ember.plate_stack("designs", design.shape):
    ...         ember.sample("theta", dist.Normal(0.0, 1.0))
    >>> entropy = monte_carlo_entropy(model, torch.zeros(()), "theta", 100_000)
    >>> bool((entropy - 1.4189).abs() < 0.01)
    True
    """
    trace = traced(model, lexpand(design, num_prior_samples))
    entropy: Tensor = -log_prob(trace, labels_of(target_labels)).sum(0) / num_prior_samples
    return entropy


def prior_entropy(
    model: Program, design: Tensor, target_labels: Labels, options: Mapping[str, Any]
) -> Tensor:
    """The entropy of the targets before anything is observed.

    Args:
        model: takes a design.
        design: one or several.
        target_labels: the targets.
        options: "mean_field": by closed forms, if there are any (True); and those of :func:`monte_carlo_entropy`.
    """
    sampling = dict(options)
    if sampling.pop("mean_field", True):
        try:
            exact: Tensor = mean_field_entropy(model, [design], whitelist=labels_of(target_labels))
            return exact
        except NotImplementedError:
            pass
    return monte_carlo_entropy(model, design, target_labels, **sampling)
