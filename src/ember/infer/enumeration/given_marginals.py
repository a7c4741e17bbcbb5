"""What is known of discrete sites where all other latent sites have given values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from ember.capture.recording.value_guard import is_recording
from ember.errors import ModelError
from ember.infer.enumeration.model_factors import ModelFactors, model_factors
from ember.infer.enumeration.posterior_marginals import posterior_logits
from ember.infer.traces.checks import check_site_shape
from ember.infer.traces.validate_all import structure_unchecked
from ember.poutine.enumeration.enum_messenger import EnumMessenger
from ember.poutine.handlers import block, condition, infer_config, trace
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Given:
    """A model whose latent sites have given values, except for discrete ones, which are summed out.

    Attributes:
        model: the program.
        args: of the model.
        kwargs: of the model.
        summed: the sites that have no values.
        nesting: how deep plates are nested.
    """

    model: Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    summed: frozenset[str]
    nesting: int

    @classmethod
    def of(cls, model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], first: Trace) -> Given:
        """From one run of the model at such values.

        Args:
            model: the program.
            args: of the model.
            kwargs: of the model.
            first: the run, with the sites that have no values drawn.

        Raises:
            ModelError: for a site without values that has no finite support, or is in no plate where it needs one.
        """
        left = [site for site in first.samples() if site.is_latent and not site.is_subsample]
        for site in left:
            if not getattr(site.fn, "has_enumerate_support", False):
                raise ModelError(
                    f"site {site.name!r} has no draws, and {type(site.fn).__name__} cannot be summed out\n"
                    "The way out: give draws of it, or a guide that draws it."
                )
        dims = [frame.dim for site in first.samples() for frame in site.plates if frame.dim is not None]
        if left:
            seen = prune_subsample_sites(first)
            seen.compute_log_prob()
            for site in seen.samples():
                check_site_shape(site, inf)
        return cls(model, args, kwargs, frozenset(site.name for site in left), -min(dims, default=0))

    def run(self, values: Values) -> tuple[Trace, ModelFactors]:
        """The packed trace of the model with the sites summed out enumerated, and its factors."""
        model = infer_config(condition(self.model, data=dict(values)), config_fn=self._enumerated)
        if self.summed:
            model = EnumMessenger(first_available_dim=-1 - self.nesting)(model)
        with structure_unchecked() if is_recording() else nullcontext():
            recorded: Trace = prune_subsample_sites(block(trace(model).get_trace)(*self.args, **self.kwargs))
        recorded.add_log_probs()
        recorded.pack_tensors()
        return recorded, model_factors(recorded, Trace())

    def marginals(self, values: Values) -> dict[str, Tensor]:
        """Log probabilities of the values of each site summed out, ``(*plates, values)``."""
        recorded, parts = self.run(values)
        sites = {name: recorded.nodes[name] for name in recorded.nodes if name in self.summed}
        return dict(posterior_logits(recorded, sites, parts))

    def _enumerated(self, site: Site) -> dict[str, object]:
        return {"enumerate": "parallel"} if site.name in self.summed else {}


def first_run(model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], values: Values) -> Trace:
    """One run of a model at given values; it takes nothing from the caller's handlers."""
    with torch.no_grad(), block():
        recorded: Trace = trace(condition(model, data=dict(values))).get_trace(*args, **kwargs)
    return recorded
