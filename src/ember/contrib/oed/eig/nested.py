"""Nested Monte Carlo: no guide, no training."""

from __future__ import annotations

import math
from collections.abc import Container

import torch
from torch import Tensor

from ember import poutine
from ember.contrib.oed.eig.runs import Labels, Program, given, labels_of, log_prob, traced, values
from ember.contrib.util import lexpand
from ember.errors import ModelError


def nmc_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels | None = None,
    N: int = 100,
    M: int = 10,
    M_prime: int | None = None,
    independent_priors: bool = False,
) -> Tensor:
    r"""The expected information gain by nested Monte Carlo (T. Rainforth and others, 2018).

    .. math:: \frac{1}{N} \sum_n \log p(y_n \mid \theta_n, d) -
              \frac{1}{N} \sum_n \log \frac{1}{M} \sum_m p(y_n \mid \theta_m, d)

    Its bias is positive, and falls as 1 / M. With ``M_prime``, latent sites that are no targets are averaged over in the
    first term, too.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest; needed with ``M_prime`` only.
        N: draws of targets and observations.
        M: draws of latent sites, for the density of the observations.
        M_prime: draws of other latent sites, for their density given targets.
        independent_priors: with ``M_prime``: the other latent sites do not depend on the targets, so that the same draws
            serve for all of these.

    Returns:
        One number for each design.

    Raises:
        ModelError: if a site is not there, or there is ``M_prime`` without targets.

    See :mod:`ember.contrib.oed` for an example.
    """
    observed = labels_of(observation_labels)
    trace = traced(model, lexpand(design, N))
    y = values(trace, observed)
    if M_prime is None:
        conditional = log_prob(trace, observed)
    else:
        if target_labels is None:
            raise ModelError("nmc_eig with M_prime averages over what is no target: give target_labels")
        known = {**values(trace, labels_of(target_labels)), **y}
        repeated = {label: lexpand(value, M_prime) for label, value in known.items()}
        if independent_priors:
            drawn = _others(model, lexpand(design, M_prime, 1), known)
            repeated.update(
                {name: value.expand(M_prime, N, *value.shape[2:]) for name, value in drawn.items()}
            )
        conditional = _mean_density(model, repeated, lexpand(design, M_prime, N), observed)
    # The targets come before the observations: the same M draws serve all of these.
    repeated = {label: lexpand(value, M) for label, value in y.items()}
    marginal = _mean_density(model, repeated, lexpand(design, M, 1), observed)
    terms = conditional - marginal
    is_number = ~torch.isnan(terms)
    total: Tensor = torch.where(is_number, terms, 0.0).sum(0) / is_number.sum(0).to(terms.dtype)
    return total


def _mean_density(model: Program, known: dict[str, Tensor], design: Tensor, observed: list[str]) -> Tensor:
    """The log of the density of observations, averaged over the first dim: draws of what is not known."""
    density: Tensor = log_prob(traced(given(model, known), design), observed)
    return density.logsumexp(0) - math.log(design.shape[0])


def _others(model: Program, design: Tensor, known: Container[str]) -> dict[str, Tensor]:
    """Draws of all latent sites but those that are known."""
    trace = poutine.trace(model).get_trace(design)
    sites = {name: trace.nodes[name] for name in trace.stochastic_nodes if name not in known}
    return {name: site.value for name, site in sites.items() if not site.is_subsample}
