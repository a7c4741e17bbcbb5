"""Data drawn anew from a posterior: what the model would have seen, had it been true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ember import poutine
from ember.capture.rows.function import WORTH_A_PROGRAM, rows
from ember.errors import ModelError
from ember.infer.traces.validate_all import switches
from ember.ops.draws import number_of
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.report.posterior import Posterior

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Observed:
    """The data of a site.

    Attributes:
        name: of the site.
        value: as observed.
        seen: which entries of the batch no mask hides; None for all.
        is_discrete: whether they are whole numbers.
    """

    name: str
    value: Tensor
    seen: Tensor | None
    is_discrete: bool

    @classmethod
    def of(cls, posterior: Posterior, site: str | None) -> Observed:
        """The data of a model.

        Args:
            posterior: the model at its data.
            site: whose data; needed where several sites are observed.

        Raises:
            ModelError: if there is no such site, or several where none is named.
        """
        data = [each for each in posterior.first().samples() if is_data(each)]
        found = [each for each in data if site in (None, each.name)]
        if len(found) != 1:
            raise ModelError(
                f"say by site=... which of the observed sites {[each.name for each in data]} is meant; got {site!r}"
            )
        one = found[0]
        mask = one.mask
        seen = mask.expand(one.fn.batch_shape) if isinstance(mask, Tensor) else None
        return cls(one.name, one.value, seen, bool(one.fn.support.is_discrete))

    def entries(self, value: Tensor) -> Tensor:
        """All numbers of a value that no mask hides, in one dim."""
        return (value if self.seen is None else value[self.seen]).reshape(-1).to(torch.get_default_dtype())


def is_data(site: Site) -> bool:
    """Whether it holds observations."""
    return site.is_observed and not (site.is_subsample or site.is_factor or site.is_deterministic)


def replicated(
    posterior: Posterior, draws: Mapping[str, Tensor], observed: Observed, function: Function
) -> Tensor:
    """A function of data drawn anew, at each draw of the latent sites.

    Args:
        posterior: the model.
        draws: of its latent sites; none for a model without any.
        observed: the data that are drawn anew.
        function: of the entries of the data; it is called in each run, so that the data need not be kept.

    Returns:
        Shape ``(draws, *shape of the result)``.
    """
    model = poutine.uncondition(posterior.whole)

    def one(values: Mapping[str, Tensor]) -> Tensor:
        with posterior.store.active(), poutine.block(), poutine.mask(mask=False):
            conditioned = poutine.condition(model, data=dict(values))
            trace: Trace = poutine.trace(conditioned).get_trace(*posterior.args, **dict(posterior.kwargs))
        return function(observed.entries(trace.nodes[observed.name].value))

    number = number_of(draws) or 1
    run = rows(one, reads=posterior.reads, facts=switches, compile=number >= WORTH_A_PROGRAM)
    with torch.no_grad():
        found: Tensor = run(dict(draws), num_rows=number)
    return found


def latent_draws(posterior: Posterior, number: int) -> dict[str, Tensor]:
    """Draws of the latent sites of a model, as :func:`replicated` needs them."""
    return posterior.latent(posterior.draw(number), posterior.first())
