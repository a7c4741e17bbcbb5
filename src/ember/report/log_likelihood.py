"""The log density of each observation, at each draw of the posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember.capture.rows.function import WORTH_A_PROGRAM, RowFunction, rows
from ember.errors import ModelError
from ember.infer.enumeration.given_marginals import Given
from ember.infer.traces.validate_all import switches
from ember.ops.draws import number_of
from ember.params.param_store import get_param_store
from ember.report.posterior import Posterior

Program = Callable[..., Any]


def log_likelihood(
    model: Program, posterior: Mapping[str, Tensor], *args: Any, **kwargs: Any
) -> dict[str, Tensor]:
    """Compute log densities of the observations, one by one, without the scales of plates.

    This is the input of leave-one-out cross-validation (Vehtari, Gelman and Gabry, 2017). Entries that a mask
    hides are 0. Plates that take a part of their rows take all of them here. Discrete latent sites without
    draws are summed out. Observed sites that depend on the same such site are one entry, ``"y1+y2"``.

    Args:
        model: the program, with its data observed.
        posterior: draws of its latent sites, along dim 0.
        args: arguments of the model.
        kwargs: keyword arguments of the model.

    Returns:
        By observed site, tensors of shape ``(draws,) + batch shape of the site``, in nats.

    Raises:
        ModelError: for a continuous latent site without draws, draws of different numbers, a model without
            observations, or data that depend on each other through discrete sites that are summed out.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.report import log_likelihood
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> log_likelihood(model, {"mu": torch.zeros(5)}, torch.tensor([0.0, 1.0]))["y"].shape
    torch.Size([5, 2])
    """
    sizes = {name: len(value) for name, value in posterior.items()}
    if len(set(sizes.values())) > 1:
        raise ModelError(f"log_likelihood needs the same number of draws at all sites, got {sizes}")
    return by_draw(Posterior(model, posterior, args, kwargs, get_param_store()), posterior)


def by_draw(posterior: Posterior, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The log densities of the data of a posterior at draws; see :func:`log_likelihood`.

    Args:
        posterior: a model at its data.
        draws: of its latent sites, along dim 0; one that is empty stands for a model without any.

    Raises:
        ValueError: see :func:`log_likelihood`.
    """
    number = number_of(draws) or 1
    return PointwiseDensity.of(posterior, draws, number)(draws, number)


@dataclass(frozen=True)
class PointwiseDensity:
    """The log density of each event of the data as a function of draws.

    Attributes:
        size: how many events there are.
        run: over rows of draws.
    """

    size: int
    run: RowFunction

    @classmethod
    def of(cls, posterior: Posterior, draws: Mapping[str, Tensor], number: int) -> PointwiseDensity:
        """Of a model; what has no draws here is summed out.

        Args:
            posterior: a model at its data.
            draws: of its latent sites, along dim 0. Those that a later call does not give are drawn in it.
            number: of draws in all.

        Raises:
            ValueError: see :func:`log_likelihood`.
        """
        with torch.no_grad(), posterior.store.active():
            at_first = {name: value[0] for name, value in draws.items()}
            given = Given.of(posterior.whole, posterior.args, posterior.kwargs, at_first)
        if not given.shapes:
            raise ModelError("log_likelihood needs a model with observed sites (obs=...); this one has none")

        def one(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            with posterior.store.active():
                return given.log_likelihood(values)

        compiles = number >= WORTH_A_PROGRAM
        size = sum(shape.numel() for shape in given.shapes.values())
        return cls(size, rows(one, reads=posterior.reads, facts=switches, compile=compiles))

    def __call__(self, draws: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """Log densities by observed site, draws along dim 0.

        Args:
            draws: of latent sites.
            number: of draws.
        """
        found: dict[str, Tensor] = self.run(dict(draws), num_rows=number)
        return found
