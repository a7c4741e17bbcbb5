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

    It fits a normal by natural gradients, from the best of several starts, and weighs its draws by the model.
    If the weights are too poor, it draws sites that depend on others through standard noise, and tries richer
    families. It ends when one family fits well, or when two different ones agree. Means and standard
    deviations (SDs) are those of the weighed draws, with their Monte Carlo errors. The model runs in double
    precision. Draws come back in its own precision. Ctrl-C ends the fit early, with what there is.

    Args:
        model: a program with its data observed. Its discrete latent sites are summed out. Its parameters are
            set to the maximum of the marginal likelihood.
        args: positional arguments of the model.
        guide: ``"auto"``, or one family to fit and judge alone: ``"mean-field"``, ``"full-rank"``,
            ``"low-rank"``, ``"skewed"``, ``"mixture"``, ``"flow"``. Any other guide, or a class of
            autoguides, is trained by steps of SVI until its averages converge. So is a mean-field guide for
            ``"auto"``, if a plate takes a part of its rows.
        draws: how many draws of equal weight to return.
        seed: an integer; the same seed gives the same fit. None takes a seed from torch's random stream.
        budget: the time for the fit in seconds, counted after the model was compiled. A stage begins only if
            it is likely to end in time. A fit is judged by 4,096 evaluations of the density at least, even if
            these take longer.
        progress: show the stage and its ELBO.
        strict: raise an error where the numbers should not be used.
        audit: also check by short chains from the draws, whatever the weights say.
        kwargs: keyword arguments of the model.

    Returns:
        A :class:`~ember.fit.result.Fit` with the draws, tables, pictures and the verdict. ``if fit.verdict:``
            is true only if means and SDs can be used.

    Warns:
        UserWarning: if the numbers should not be used. ``print(fit)`` says what would help.

    Raises:
        ModelError: for a value that an option does not have, or a model without a density over fixed
            coordinates (names the site).
        NotTrusted: under ``strict``, for a verdict of ``poor`` or ``not converged``.

    References:
        A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry (2024), "Pareto smoothed importance sampling".
        M. Opper and C. Archambeau (2009), "The variational Gaussian approximation revisited".

    >>> import torch, ember
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
