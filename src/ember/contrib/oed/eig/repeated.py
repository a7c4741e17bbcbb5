"""A fit of its own for each of many observations that might be made."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.caller import stacklevel
from ember.contrib.oed.eig.prior_entropy import prior_entropy
from ember.contrib.oed.eig.runs import Labels, Program, given, labels_of, mode_for
from ember.infer import SVI, EmpiricalMarginal, Importance
from ember.infer.autoguide import mean_field_entropy

# Takes what is observed, by site, and returns the entropy of a posterior.
EntropyAfter = Callable[[dict[str, Tensor]], Tensor]


def laplace_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    guide: Any,
    loss: Callable[..., Tensor],
    optim: Any,
    num_steps: int,
    final_num_samples: int,
    y_dist: Any = None,
    eig: bool = True,
    **prior_entropy_kwargs: Any,
) -> Tensor:
    """The expected information gain by a Laplace approximation for each of many observations.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed, all of one shape.
        target_labels: sites of interest.
        guide: a module as :class:`~ember.contrib.oed.glmm.guides.LinearModelLaplaceGuide`: at the mode while it is trained,
            normal after ``guide.finalize(loss, target_labels)``.
        loss: such as ``Trace_ELBO().differentiable_loss``.
        optim: an optimizer of :mod:`ember.optim`.
        num_steps: steps to each mode, captured where that is possible if they are 200 together. Parameters begin where the
            observation before has left them.
        final_num_samples: how many observations are drawn.
        y_dist: what observations are drawn from, stacked by site; that of the model if None.
        eig: if false, the average posterior entropy instead.
        prior_entropy_kwargs: "mean_field" and "num_prior_samples", how the prior's entropy is found.

    Returns:
        One number for each design.
    """
    observed, targets = labels_of(observation_labels), labels_of(target_labels)
    mode = mode_for(num_steps * final_num_samples, design)
    svi = _fitted_to(model, guide, observed, optim, loss, compile=mode)

    def entropy_after(y: dict[str, Tensor]) -> Tensor:
        guide.train()
        svi.run(num_steps, design, *y.values(), progress=False)
        guide.finalize(loss(given(model, y), guide, design), targets)
        entropy: Tensor = mean_field_entropy(guide, [design], whitelist=targets)
        return entropy

    ape = _average_entropy(model, design, observed, {"num_samples": final_num_samples}, y_dist, entropy_after)
    return prior_entropy(model, design, targets, prior_entropy_kwargs) - ape if eig else ape


def vi_eig(
    model: Program,
    design: Tensor,
    observation_labels: Labels,
    target_labels: Labels,
    vi_parameters: Mapping[str, Any],
    is_parameters: Mapping[str, Any],
    y_dist: Any = None,
    eig: bool = True,
    **prior_entropy_kwargs: Any,
) -> Tensor:
    """Deprecated: use :func:`posterior_eig`. The expected information gain by a fit to each of many observations.

    Args:
        model: takes a design.
        design: one or several; batch dims of the model are independent.
        observation_labels: sites that will be observed, all of one shape.
        target_labels: sites of interest.
        vi_parameters: "guide", "optim", "loss" and "num_steps" of the fits; others are passed on to SVI.
        is_parameters: passed on to :class:`~ember.infer.Importance`: "num_samples", how many observations are drawn.
        y_dist: what observations are drawn from, stacked by site; that of the model if None.
        eig: if false, the average posterior entropy instead.
        prior_entropy_kwargs: "mean_field" and "num_prior_samples", how the prior's entropy is found.

    Returns:
        One number for each design.
    """
    warnings.warn(
        "`vi_eig` is deprecated in favour of the amortized version: `posterior_eig`.",
        DeprecationWarning,
        stacklevel=stacklevel(),
    )
    observed, targets = labels_of(observation_labels), labels_of(target_labels)
    options = dict(vi_parameters)
    num_steps, guide = options.pop("num_steps"), options.pop("guide")
    mode = mode_for(num_steps * is_parameters.get("num_samples", 1), design)
    svi = _fitted_to(model, guide, observed, **{"compile": mode, **options})

    def entropy_after(y: dict[str, Tensor]) -> Tensor:
        svi.run(num_steps, design, *y.values(), progress=False)
        entropy: Tensor = mean_field_entropy(guide, [design], whitelist=targets)
        return entropy

    ape = _average_entropy(model, design, observed, is_parameters, y_dist, entropy_after)
    return prior_entropy(model, design, targets, prior_entropy_kwargs) - ape if eig else ape


def _fitted_to(
    model: Program, guide: Program, observed: list[str], optim: Any, loss: Any, **more: Any
) -> SVI:
    """Fits to observations that are arguments, so that one captured step serves all."""

    def model_of(design: Tensor, *y: Tensor) -> Any:
        return given(model, dict(zip(observed, y, strict=True)))(design)

    def guide_of(design: Tensor, *y: Tensor) -> Any:
        return guide(design)

    return SVI(model_of, guide_of, optim, loss, **more)


def _average_entropy(
    model: Program,
    design: Tensor,
    observed: list[str],
    sampling: Mapping[str, Any],
    y_dist: Any,
    entropy_after: EntropyAfter,
) -> Tensor:
    """The mean entropy after each observation, by its probability."""
    with poutine.block():
        if y_dist is None:
            y_dist = EmpiricalMarginal(Importance(model, **sampling).run(design), sites=observed)
        support, log_weights = _weighed(y_dist)
        entropies = [entropy_after(dict(zip(observed, y.unbind(), strict=True))).detach() for y in support]
    stacked = torch.stack(entropies)
    weights = log_weights.softmax(0).to(stacked.dtype)
    return (weights.reshape(-1, *[1] * (stacked.dim() - 1)) * stacked).sum(0)


def _weighed(y_dist: Any) -> tuple[Tensor, Tensor]:
    """What may be observed, with log weights: draws as often as they are drawn, else all values, else one draw."""
    if isinstance(y_dist, EmpiricalMarginal):
        return y_dist.enumerate_support(), y_dist.log_weights
    if y_dist.has_enumerate_support:
        support = y_dist.enumerate_support()
        return support, torch.stack([y_dist.log_prob(y).sum() for y in support])
    return y_dist.sample().unsqueeze(0), torch.zeros(1)
