"""Variational estimates: each trains one of the losses, and evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ember import poutine
from ember.contrib.oed.eig.losses import (
    Critic,
    DonskerVaradhanLoss,
    LFIRELoss,
    MarginalLikelihoodLoss,
    MarginalLoss,
    PosteriorLoss,
    VNMCLoss,
)
from ember.contrib.oed.eig.prior_entropy import prior_entropy
from ember.contrib.oed.eig.runs import Labels, Program, given, labels_of, values
from ember.contrib.oed.eig.training import opt_eig_ape_loss
from ember.contrib.util import lexpand


def donsker_varadhan_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    num_samples: int,
    num_steps: int,
    T: Critic,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: int | None = None,
) -> Any:
    r"""The bound of M. Donsker and S. Varadhan (1975), from below, but for its noise.

    .. math:: \sup_T \mathbb{E}_{p(y, \theta \mid d)}[T(y, \theta)] -
              \log \mathbb{E}_{p(y \mid d) p(\theta)}[\exp T(y, \theta)]

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest.
        num_samples: draws in each step.
        num_steps: steps of training.
        T: a function ``(design, trace, observation_labels, target_labels)``; if it is a module, it is trained.
        optim: an optimizer of :mod:`ember.optim`.
        return_history: return the estimates of all steps, too.
        final_design: where the estimate is made; ``design`` if None.
        final_num_samples: draws for it; as ``num_samples`` if None.

    Returns:
        One number for each design; with a history, that before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        ModelError: if a site is not there.
    """
    loss = DonskerVaradhanLoss(labels_of(observation_labels), labels_of(target_labels), model, T)
    return opt_eig_ape_loss(
        design, loss, num_samples, num_steps, optim, return_history, final_design, final_num_samples
    )


def posterior_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    num_samples: int,
    num_steps: int,
    guide: Program,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: int | None = None,
    eig: bool = True,
    prior_entropy_kwargs: Mapping[str, Any] = {},
    *args: Any,
    **kwargs: Any,
) -> Any:
    r"""The bound of D. Barber and F. Agakov (2003), from below: a guide for the posterior of all observations.

    .. math:: H[p(\theta)] - \min_q \mathbb{E}_{p(y, \theta \mid d)}[-\log q(\theta \mid y, d)]

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest.
        num_samples: draws in each step.
        num_steps: steps of training.
        guide: a program ``(y_dict, design, observation_labels, target_labels)``, which samples the targets.
        optim: an optimizer of :mod:`ember.optim`.
        return_history: return the estimates of all steps, too.
        final_design: where the estimate is made; ``design`` if None.
        final_num_samples: draws for it; as ``num_samples`` if None.
        eig: if false, the average posterior entropy instead, from above.
        prior_entropy_kwargs: "mean_field" and "num_prior_samples", how the prior's entropy is found.
        args: none is known.
        kwargs: ``analytic_entropy``: at the end, the guide's entropy in closed form.

    Returns:
        One number for each design; with a history, that before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        ModelError: if a site is not there.
        TypeError: for other arguments.

    >>> import torch, ember
    >>> from ember.contrib.oed.glmm import known_covariance_linear_model
    >>> from ember.contrib.oed.glmm.guides import LinearModelPosteriorGuide
    >>> _ = torch.manual_seed(0)
    >>> model = known_covariance_linear_model(torch.tensor(0.0), torch.tensor([1.0]), torch.tensor(1.0))
    >>> guide = LinearModelPosteriorGuide((1,), {"w": 1}, {"y": 1})
    >>> design = torch.tensor([[[3.0]]])  # a batch of one, of one observation and one coefficient
    >>> eig = posterior_eig(
    ...     model, design, "y", "w", 10, 150, guide, ember.optim.Adam({"lr": 0.05}), final_num_samples=2000
    ... )
    >>> bool((eig - 1.1513).abs() < 0.15)
    True
    """
    if args:
        raise TypeError(f"posterior_eig takes no further arguments by position, got {args}")
    targets = labels_of(target_labels)
    loss = PosteriorLoss(labels_of(observation_labels), targets, model, guide, **kwargs)
    found = opt_eig_ape_loss(
        design, loss, num_samples, num_steps, optim, return_history, final_design, final_num_samples
    )
    if not eig:
        return found
    entropy = prior_entropy(model, design, targets, prior_entropy_kwargs)
    return (entropy - found[0], entropy - found[1]) if return_history else entropy - found


def marginal_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    num_samples: int,
    num_steps: int,
    guide: Program,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: int | None = None,
) -> Any:
    r"""A bound from above by a guide for the marginal of the observations (A. Foster and others, 2019).

    .. math:: \min_q \mathbb{E}_{p(y, \theta \mid d)}[\log p(y \mid \theta, d) - \log q(y \mid d)]

    For models whose latent sites are all targets.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest.
        num_samples: draws in each step.
        num_steps: steps of training.
        guide: a program ``(design, observation_labels, target_labels)``, which samples the observations.
        optim: an optimizer of :mod:`ember.optim`.
        return_history: return the estimates of all steps, too.
        final_design: where the estimate is made; ``design`` if None.
        final_num_samples: draws for it; as ``num_samples`` if None.

    Returns:
        One number for each design; with a history, that before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        ModelError: if a site is not there.
    """
    loss = MarginalLoss(labels_of(observation_labels), labels_of(target_labels), model, guide)
    return opt_eig_ape_loss(
        design, loss, num_samples, num_steps, optim, return_history, final_design, final_num_samples
    )


def marginal_likelihood_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    num_samples: int,
    num_steps: int,
    marginal_guide: Program,
    cond_guide: Program,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: int | None = None,
) -> Any:
    r"""An estimate for models with random effects, by guides for marginal and likelihood (A. Foster and others, 2019).

    .. math:: \mathbb{E}_{p(y, \theta \mid d)}[\log q(y \mid \theta, d) - \log q(y \mid d)]

    It is no bound; it is exact where both guides are.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest.
        num_samples: draws in each step.
        num_steps: steps of training.
        marginal_guide: a program ``(design, observation_labels, target_labels)``, which samples the observations.
        cond_guide: a program ``(theta_dict, design, observation_labels, target_labels)``, which does so given targets.
        optim: an optimizer of :mod:`ember.optim`.
        return_history: return the estimates of all steps, too.
        final_design: where the estimate is made; ``design`` if None.
        final_num_samples: draws for it; as ``num_samples`` if None.

    Returns:
        One number for each design; with a history, that before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        ModelError: if a site is not there.
    """
    loss = MarginalLikelihoodLoss(
        labels_of(observation_labels), labels_of(target_labels), model, marginal_guide, cond_guide
    )
    return opt_eig_ape_loss(
        design, loss, num_samples, num_steps, optim, return_history, final_design, final_num_samples
    )


def lfire_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    num_y_samples: int,
    num_theta_samples: int,
    num_steps: int,
    classifier: Critic,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: int | None = None,
) -> Any:
    r"""Ratio estimation (S. Kleinegesse and M. Gutmann, 2019), for likelihoods that can be sampled only.

    For each of some draws of the targets, a classifier learns ``log p(y | theta, d) / p(y | d)``; the estimate is its mean.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest.
        num_y_samples: draws of observations in each step.
        num_theta_samples: draws of the targets, each with a classifier of its own.
        num_steps: steps of training.
        classifier: a function ``(design, trace, observation_labels, target_labels)``; if it is a module, it is trained.
            Designs have a dim of ``num_theta_samples`` on the left, and one of ``num_y_samples`` left of it.
        optim: an optimizer of :mod:`ember.optim`.
        return_history: return the estimates of all steps for each draw, too.
        final_design: where the estimate is made, with the dim of ``num_theta_samples``; ``design`` if None.
        final_num_samples: draws for it; as ``num_y_samples`` if None.

    Returns:
        One number for each design; with a history, that before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        ModelError: if a site is not there.
    """
    observed, targets = labels_of(observation_labels), labels_of(target_labels)
    expanded = lexpand(design, num_theta_samples)
    drawn = values(poutine.trace(model).get_trace(expanded), targets)
    # The draws stay as they are: no gradient goes back to what they were drawn with.
    fixed = given(model, {label: value.detach() for label, value in drawn.items()})
    loss = LFIRELoss(observed, targets, model, fixed, classifier)
    found = opt_eig_ape_loss(
        expanded, loss, num_y_samples, num_steps, optim, return_history, final_design, final_num_samples
    )
    if return_history:
        return found[0], found[1].sum(0) / num_theta_samples
    return found.sum(0) / num_theta_samples


def vnmc_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    num_samples: tuple[int, int],
    num_steps: int,
    guide: Program,
    optim: Any,
    return_history: bool = False,
    final_design: Tensor | None = None,
    final_num_samples: tuple[int, int] | None = None,
) -> Any:
    r"""Variational nested Monte Carlo (A. Foster and others, 2019): a bound from above, tight for M to infinity or a good guide.

    .. math:: \mathbb{E}\Big[\log p(y \mid \theta_0, d) -
              \log \frac{1}{M} \sum_m \frac{p(y, \theta_m \mid d)}{q(\theta_m \mid y, d)}\Big]

    For models whose latent sites are all targets.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed.
        target_labels: sites of interest.
        num_samples: N draws of observations in each step, and M of the guide for each of these.
        num_steps: steps of training.
        guide: a program ``(y_dict, design, observation_labels, target_labels)``, which samples the targets.
        optim: an optimizer of :mod:`ember.optim`.
        return_history: return the estimates of all steps, too.
        final_design: where the estimate is made; ``design`` if None.
        final_num_samples: draws for it; as ``num_samples`` if None.

    Returns:
        One number for each design; with a history, that before them.

    Raises:
        ArithmeticError: if a loss or a gradient is not finite.
        ModelError: if a site is not there.
    """
    loss = VNMCLoss(labels_of(observation_labels), labels_of(target_labels), model, guide)
    return opt_eig_ape_loss(
        design, loss, num_samples, num_steps, optim, return_history, final_design, final_num_samples
    )
