"""From a model and data to a posterior with a verdict, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from ember.errors import NotTrusted, SubsamplingError
from ember.fit.asked import Asked
from ember.fit.by_density import fit_by_density
from ember.fit.by_steps import fit_by_steps
from ember.fit.result import Fit
from ember.params.param_store import ParamStoreDict

Program = Callable[..., Any]


def fit(
    model: Program,
    *args: Any,
    guide: str | Program = "auto",
    draws: int = 4000,
    seed: int | None = None,
    budget: float = 30.0,
    progress: bool = True,
    strict: bool = False,
    audit: bool = False,
    **kwargs: Any,
) -> Fit:
    """Fit the posterior of a model, and say whether to believe the result.

    A normal is fitted by natural gradients from the best of several starts, and its draws are weighed. Where the weights show
    that it is too poor, sites that depend on others are drawn through noise, and richer families are tried, until one fits
    well or two that differ agree. Moments are those of the weighed draws, with their Monte Carlo errors. The model runs in
    double precision; draws come back in its own.

    Args:
        model: a program with its data observed. Its discrete latent sites are summed out, its parameters maximised.
        args: of the model.
        guide: ``"auto"``, or one family that is fitted and judged alone: ``"mean-field"``, ``"full-rank"``, ``"low-rank"``,
            ``"skewed"``, ``"mixture"``, ``"flow"``. Any other guide, or a class of autoguides, is trained by steps of an SVI
            until its averages converge; so is ``"auto"``, as a mean-field guide, where plates take a part of their rows.
        draws: how many draws of equal weight to return.
        seed: the same seed gives the same fit. None takes one from torch's random stream.
        budget: seconds, after the model was compiled. A stage is tried only if it is likely to end in time.
        progress: whether to show what is going on.
        strict: raise an error where the numbers should not be used.
        audit: check by short chains from the draws, as a last resort.
        kwargs: of the model.

    Returns:
        The draws, tables, pictures, and the verdict. ``if fit.verdict:`` is true only where means and SDs can be used. A warning
        is given where they should not be.

    Raises:
        ValueError: for an option that does not exist, or a model without a density over fixed coordinates (it names the site).
        NotTrusted: under ``strict``, for a verdict of ``poor`` or ``not converged``.

    References:
        A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry (2024), "Pareto smoothed importance sampling".
        M. Opper and C. Archambeau (2009), "The variational Gaussian approximation revisited".

    >>> import ember
    >>> from ember import distributions as dist
    >>> def coin(flips):
    ...     fairness = ember.sample("fairness", dist.Beta(2.0, 2.0))
    ...     with ember.plate("flips", len(flips)):
    ...         ember.sample("flip", dist.Bernoulli(fairness), obs=flips)
    >>> result = ember.fit(coin, torch.tensor([1.0] * 7 + [0.0] * 3), seed=0, progress=False)
    >>> result.verdict.status, round(result.summary()["fairness"]["mean"], 2)  # exactly 9 / 14
    ('ok', 0.64)
    """
    seed = int(torch.randint(1 << 31, ())) if seed is None else seed
    asked = Asked(model, args, kwargs, guide, draws, seed, budget, progress, audit)
    store = ParamStoreDict()
    with store.active():
        try:
            result = fit_by_density(asked, store) if isinstance(guide, str) else fit_by_steps(asked, store)
        except SubsamplingError:
            result = fit_by_steps(asked, store)
    _said(result, strict)
    return result


_NAMED = 3


def _said(result: Fit, strict: bool) -> None:
    """Warn of a fit that is not to be trusted.

    Raises:
        NotTrusted: under ``strict``.
    """
    verdict = result.verdict
    if verdict.status in ("ok", "means only"):
        return
    apart = result.outcome.apart(result.values.names)
    which = f" for {', '.join(apart[:_NAMED])}{' and others' if apart[_NAMED:] else ''}" if apart else ""
    text = f"ember.fit of {result.called.name}: {verdict.status}{which}: {'; '.join(verdict.reasons)}"
    if strict and verdict.status != "unverified":
        raise NotTrusted(
            f"{text}\nThe way out: print what ember.fit returns without strict=True; it says what helps.",
            result,
        )
    warnings.warn(f"{text}\nprint(fit) says what helps.", UserWarning, stacklevel=3)
