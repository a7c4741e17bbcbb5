"""Draws as ArviZ's data, so that its summaries, comparisons and plots can be used."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.ops.draws import number_of
from ember.report.dims import dims_of
from ember.report.log_likelihood import by_draw
from ember.report.posterior import taken_apart

Groups = dict[str, dict[str, Any]]


def to_arviz(
    fitted: object,
    *rest: Any,
    num_samples: int = 1000,
    posterior_predictive: Mapping[str, Tensor] | None = None,
    prior: Mapping[str, Tensor] | None = None,
    sample_stats: Mapping[str, Tensor] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    pointwise: bool = True,
    attrs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Put draws, data and the log likelihood into ArviZ's container.

    That is ``InferenceData``, or ``DataTree`` from ArviZ 1.0 on. The draws make one chain. Dims are named
    after plates, and after the site for the dims of events. Called as ``to_arviz(fit)``, ``to_arviz(svi,
    *args)``, ``to_arviz(model, draws, *args)`` or ``to_arviz(model, guide, *args)``. What :func:`ember.fit`
    returns has a method of that name.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model with
            its data observed.
        rest: draws by site, along dim 0, or a guide, after a model; then the arguments of the model, which
            are those of the fit by default.
        num_samples: how many draws of a guide to take.
        posterior_predictive: draws of the observed sites, along dim 0.
        prior: draws from the prior by site, along dim 0.
        sample_stats: numbers by draw, shape ``(draws, ...)``, such as log densities.
        coords: labels of the entries along a dim, by its name.
        pointwise: whether to evaluate the log likelihood, which ``arviz.loo`` needs: one run of the model a
            draw.
        attrs: what else is to be known of the draws, by name.
        kwargs: keyword arguments of the model.

    Returns:
        The container, with the groups ``posterior``, ``log_likelihood``, ``observed_data``, and those given.

    Raises:
        ImportError: without ArviZ (``pip install arviz``).
        ModelError: without draws of any site; if ``coords`` names a dim that no site has; under
            ``pointwise``, if there are no draws of a continuous latent site.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> data = ember.report.to_arviz(model, {"mu": torch.randn(100)}, torch.zeros(3))
    >>> tuple(data["log_likelihood"]["y"].shape)  # chains, draws, rows
    (1, 100, 3)
    """
    posterior, rest = taken_apart("report.to_arviz", fitted, rest)
    posterior = posterior.at(rest, kwargs)
    draws = posterior.draw(num_samples if posterior.guide is not None else number_of(posterior.given))
    if not draws:
        raise ModelError("to_arviz needs draws of at least one site, got none")
    trace = posterior.first()
    observed = {
        site.name: _array(site.value)
        for site in trace.samples()
        if site.is_observed and not (site.is_subsample or site.is_factor or site.is_deterministic)
    }
    groups: Groups = {"posterior": _chain(draws)}
    if pointwise and observed:
        groups["log_likelihood"] = _chain(by_draw(posterior, posterior.latent(draws, trace)))
    groups |= {
        name: _chain(values)
        for name, values in (
            ("posterior_predictive", posterior_predictive),
            ("prior", prior),
            ("sample_stats", sample_stats),
        )
        if values
    }
    if observed:
        groups["observed_data"] = observed
    dims = {name: names for name, names in dims_of(trace).items() if any(name in g for g in groups.values())}
    return container(groups, _known(coords, dims), dims, dict(attrs or {}))


def _known(
    coords: Mapping[str, Sequence[Any]] | None, dims: dict[str, list[str]]
) -> dict[str, Sequence[Any]]:
    """The coordinates, all of dims that there are.

    Raises:
        ValueError: for others; it lists those that there are.
    """
    names = {name for site in dims.values() for name in site}
    unknown = set(coords or {}) - names
    if unknown:
        raise ModelError(f"coords name dims that no site has: {sorted(unknown)}; there are {sorted(names)}")
    return dict(coords or {})


def _array(value: Tensor) -> Any:
    return torch.as_tensor(value).detach().cpu().numpy()


def _chain(values: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: _array(value)[None] for name, value in values.items()}


def imported() -> Any:
    """ArviZ.

    Raises:
        ImportError: without it; says how to install it.
    """
    with warnings.catch_warnings():
        # ArviZ 0.x announces its own future at import.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            import arviz
        except ImportError as error:
            raise ImportError("this needs ArviZ: pip install arviz") from error
    return arviz


def container(
    groups: Groups, coords: dict[str, Sequence[Any]], dims: dict[str, list[str]], attrs: dict[str, Any]
) -> Any:
    """ArviZ's container, of whichever version.

    Args:
        groups: arrays by group and name.
        coords: labels of the entries along dims.
        dims: names of the dims of variables.
        attrs: what else is to be known.
    """
    arviz = imported()
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups, coords=coords, dims=dims, attrs={"/": attrs} if attrs else None)
    return arviz.from_dict(**groups, coords=coords, dims=dims, attrs=attrs)
