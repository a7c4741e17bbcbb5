"""Draws of a guide with the log densities of model and guide, one row at a time: right for programs that do not broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember.capture.rows.function import rows
from ember.distributions.delta import Delta
from ember.errors import ModelError
from ember.infer.autoguide.base.point import log_density_of
from ember.infer.density.density import density
from ember.infer.traces.importance_trace import Traces, get_importance_trace
from ember.infer.traces.validate_all import switches
from ember.params.param_store import ParamStoreDict
from ember.poutine.handlers import block
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace
from ember.poutine.validation import structure_unchecked
from ember.rng import fork_torch_rng

Program = Callable[..., Any]
_PRIOR_DRAWS = 64


class WholePlates(Messenger):
    """Lets plates that would take a part of their rows take all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False
        """Whether there was one."""

    def _pyro_sample(self, msg: Site) -> None:
        if site_is_subsample(msg) and msg.value is None and msg.fn.subsample_size not in (None, msg.fn.size):
            self.any = True
            msg.value = torch.arange(msg.fn.size)
            msg.whole = True


@dataclass(frozen=True)
class GuideRows:
    """Draws of a guide.

    Attributes:
        log_p: log joint density of the model, ``(S,)``.
        log_q: log density of the guide, ``(S,)``.
        values: the model's latent sites by name, ``(S, *shape)``.
        backend: what ran over the rows.
    """

    log_p: Tensor
    log_q: Tensor
    values: dict[str, Tensor]
    backend: str


@dataclass(frozen=True)
class Pair:
    """A model and a guide with their arguments, over all data."""

    model: Program
    guide: Program
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    store: ParamStoreDict

    def draw(self, draws: int) -> GuideRows:
        """Draw from the guide, and weigh.

        Args:
            draws: how many.

        Raises:
            ModelError: if the model cannot be weighed over all data: names the site or plate.
        """
        summed = self.check(self._first())
        weigh = rows(
            self._weighed,
            reads=(
                ("the model", self.model),
                ("the guide", self.guide),
                ("an argument", (self.args, self.kwargs)),
            ),
            facts=switches,
        )
        log_p, log_q, values = weigh(num_rows=draws)
        log_p = self._log_p_of_sums(values) if summed else log_p.double()
        return GuideRows(log_p, log_q.double(), values, weigh.backend)

    def _log_p_of_sums(self, values: dict[str, Tensor]) -> Tensor:
        """The log joint density with the discrete sites summed out that the guide does not draw.

        Raises:
            ModelError: if the model has no such density.
        """
        with self.store.active():
            target = density(WholePlates()(self.model), *self.args, **self.kwargs)
            u = target.unconstrain(values)
            log_p = target(u, grad=False).double()
        for each in target.layout:
            if not each.fixed:
                raise ModelError(f"the support of site {each.name!r} depends on other sites")
            unconstrained = u[:, each.slice].reshape(len(u), *each.unconstrained_shape)
            value = values[each.name]
            # Minus the log of the volume by which the map to the support stretches space.
            volume = log_density_of(each.transform, unconstrained, value, each.event_dim)
            log_p = log_p + (volume.reshape(len(u), -1).sum(-1) if isinstance(volume, Tensor) else volume)
        return log_p

    def traces(self) -> Traces:
        """One run of both."""
        return self._traces(WholePlates())

    def _traces(self, whole: WholePlates) -> Traces:
        model, guide = (whole(program) for program in (self.model, self.guide))
        with self.store.active(), block(), torch.no_grad(), structure_unchecked():
            return get_importance_trace("flat", math.inf, model, guide, self.args, self.kwargs)

    def _first(self) -> Traces:
        """The first run, with all rows.

        Raises:
            ModelError: if the programs need a part of the rows.
        """
        whole = WholePlates()
        try:
            return self._traces(whole)
        except (RuntimeError, ValueError, IndexError) as error:
            if not whole.any:
                raise
            raise ModelError(
                f"the model cannot be run with all rows of its plates ({str(error).partition(chr(10))[0]}): the log density of "
                "all data is not known"
            ) from error

    def check(self, traces: Traces) -> list[str]:
        """See whether these are draws of all latent sites, over all data.

        Returns:
            The discrete sites that the guide leaves to be summed out.

        Raises:
            ModelError: names the site or the plate.
        """
        model_trace, guide_trace = traces
        for trace in traces:
            for site in trace.samples():
                self._check_plates(site)
        for site in guide_trace.samples():
            if site.is_latent and not site.is_subsample:
                _check_density(site, model_trace.nodes.get(site.name))
        missing = [name for name in _latents(model_trace) if name not in guide_trace.nodes]
        for name in missing:
            if not model_trace.nodes[name].fn.has_enumerate_support:
                raise ModelError(f"the guide does not draw site {name!r} of the model")
        return missing

    @staticmethod
    def _check_plates(site: Site) -> None:
        for frame in site.cond_indep_stack:
            if frame.full_size is not None and frame.size < frame.full_size:
                raise ModelError(
                    f"plate {frame.name!r} holds {frame.size} of {frame.full_size} rows, chosen by the program itself: the "
                    "log density of all data is not known. Call verdict with all data, or give the plate subsample_size"
                )

    def _weighed(self) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        model_trace, guide_trace = self.traces()
        names = [name for name in _latents(model_trace) if name in guide_trace.nodes]
        values = {name: torch.as_tensor(model_trace.nodes[name].value) for name in names}
        log_p, log_q = (torch.as_tensor(trace.log_prob_sum()) for trace in (model_trace, guide_trace))
        return log_p, log_q, values


def _check_density(site: Site, of_model: Site | None) -> None:
    """See whether a site of the guide has its own density, and reaches all that its site in the model does.

    Weights see nothing of a region that no draw reaches: they may all be equal.
    """
    if not bool((torch.as_tensor(site.scale) == 1).all()):
        raise ModelError(
            f"the guide's density at site {site.name!r} is scaled, by ember.poutine.scale or KL annealing: scaled densities "
            "say nothing of how well the guide fits. Call verdict without the scale"
        )
    if of_model is None or isinstance(site.fn, Delta):
        return
    with fork_torch_rng(), torch.no_grad():
        try:
            prior = of_model.fn.sample(torch.Size([_PRIOR_DRAWS]))
        except NotImplementedError:
            return
        # A draw that underflows to the border of the model's own support tells nothing.
        missed = of_model.fn.support.check(prior) & ~site.fn.support.check(prior)
    if bool(torch.as_tensor(missed).any()):
        raise ModelError(
            f"the guide draws site {site.name!r} within {site.fn.support}, and the model has it outside of that, too: what the "
            "guide cannot reach, no weight can see. Give it a distribution over the support of the model"
        )


def _latents(trace: Trace) -> list[str]:
    return [site.name for site in trace.samples() if site.is_latent and not site.is_deterministic]


__all__ = ["GuideRows", "Pair", "WholePlates"]
