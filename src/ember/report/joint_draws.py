"""Draws of all latent sites of a fit, those that were summed out among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.capture.rows.function import rows
from ember.infer.enumeration.discrete import infer_discrete
from ember.infer.enumeration.given_marginals import Given
from ember.ops.draws import number_of
from ember.report.posterior import Posterior, taken_apart
from ember.report.weighed import corrected


def joint_draws(fitted: object, *rest: Any, num_samples: int = 1000, **kwargs: Any) -> dict[str, Tensor]:
    """Draw all latent sites; discrete ones are drawn jointly, given each draw of the others.

    Called as ``joint_draws(fit)``, ``joint_draws(svi, *args)``, ``joint_draws(model, guide, *args)`` or
    ``joint_draws(model, draws, *args)``. Give the result to :func:`loo`, if observations depend on each other
    through a discrete site: a change point, or the states of a chain.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model.
        rest: a guide or draws by site, along dim 0, after a model; then the arguments of the model, which
            are those of the fit by default.
        num_samples: how many draws to take, at most.
        kwargs: keyword arguments of the model.

    Returns:
        Values by site, ``(draws, *shape)``.

    Raises:
        ModelError: for continuous sites without draws.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.report import joint_draws
    >>> def model(x):
    ...     k = ember.sample("k", dist.Bernoulli(0.5))
    ...     with ember.plate("rows", len(x)):
    ...         ember.sample("x", dist.Normal(4.0 * k, 1.0), obs=x)
    >>> joint_draws(model, lambda x: None, torch.tensor([3.5, 4.5]), num_samples=5)["k"]
    tensor([1., 1., 1., 1., 1.])
    """
    posterior, rest = taken_apart("report.joint_draws", fitted, rest)
    posterior = posterior.at(rest, kwargs)
    draws = posterior.latent(corrected(posterior, num_samples).draws, posterior.first())
    return draws | drawn_jointly(posterior, draws, num_samples)


def drawn_jointly(posterior: Posterior, draws: Mapping[str, Tensor], number: int = 1) -> dict[str, Tensor]:
    """Draws of the discrete sites that are summed out, given each draw of all other sites.

    Args:
        posterior: the model at its data.
        draws: of the other sites, along dim 0.
        number: of draws, where the model has no other sites.
    """
    number = number_of(draws) or number
    with torch.no_grad(), posterior.store.active(), poutine.block():
        at_first = {name: value[0] for name, value in draws.items()}
        given = Given.of(posterior.whole, posterior.args, posterior.kwargs, at_first)
        if not given.summed:
            return {}

        def one(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            with posterior.store.active(), poutine.block():
                model = infer_discrete(given.marked(values), first_available_dim=-1 - given.nesting)
                trace = poutine.trace(model).get_trace(*posterior.args, **posterior.kwargs)
            return {name: trace.nodes[name].value for name in sorted(given.summed)}

        # Backward sampling asks for the values of indices, and cannot be captured.
        run = rows(one, compile=False)
        found: dict[str, Tensor] = run(draws, num_rows=number)
    return found
