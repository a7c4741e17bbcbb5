"""What is known of discrete sites where all other latent sites have given values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Size, Tensor

from ember.capture.recording.value_guard import is_recording
from ember.errors import ModelError
from ember.infer.enumeration.model_factors import ByOrdinal, ModelFactors, masked_log_prob, model_factors
from ember.infer.enumeration.posterior_marginals import posterior_logits
from ember.infer.traces.checks import check_site_shape
from ember.ops import packed
from ember.ops.contract import contract_tensor_tree
from ember.ops.packed import dims_of
from ember.poutine.enumeration.enum_messenger import EnumMessenger
from ember.poutine.handlers import block, condition, infer_config, trace
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.poutine.validation import structure_unchecked

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
        shapes: of the log densities of data, by observed site.
    """

    model: Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    summed: frozenset[str]
    nesting: int
    shapes: Mapping[str, Size]

    @classmethod
    def of(cls, model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], values: Values) -> Given:
        """From one run of the model, which draws the sites that have no values; torch's stream stays as it is.

        Args:
            model: the program.
            args: of the model.
            kwargs: of the model.
            values: of latent sites.

        Raises:
            ModelError: for a site without values that has no finite support, or is in no plate where it needs one.
        """
        with torch.random.fork_rng(devices=[]):
            first = first_run(model, args, kwargs, values)
        left = [site for site in first.samples() if site.is_latent and not site.is_subsample]
        missing = [site.name for site in left if not getattr(site.fn, "has_enumerate_support", False)]
        if missing:
            raise ModelError(
                f"there are no draws of the latent sites {missing}, which cannot be summed out; those given are "
                f"{list(values)}\nThe way out: give draws of them, or a guide that draws them."
            )
        dims = [frame.dim for site in first.samples() for frame in site.plates if frame.dim is not None]
        if left:
            seen = prune_subsample_sites(first)
            seen.compute_log_prob()
            for site in seen.samples():
                check_site_shape(site, inf)
        return cls(
            model,
            args,
            kwargs,
            frozenset(site.name for site in left),
            -min(dims, default=0),
            {
                site.name: site.fn.batch_shape
                for site in first.samples()
                if site.is_observed
                and not (site.name in values or site.is_subsample or site.is_factor or site.is_deterministic)
            },
        )

    def marked(self, values: Values) -> Program:
        """The model at values, with the sites summed out marked to be enumerated."""
        program: Program = infer_config(condition(self.model, data=dict(values)), config_fn=self._enumerated)
        return program

    def traced(self, values: Values) -> Trace:
        """A run of the model with the sites summed out enumerated."""
        model = self.marked(values)
        if self.summed:
            model = EnumMessenger(first_available_dim=-1 - self.nesting)(model)
        with structure_unchecked() if is_recording() else nullcontext():
            recorded: Trace = prune_subsample_sites(block(trace(model).get_trace)(*self.args, **self.kwargs))
        return recorded

    def run(self, values: Values) -> tuple[Trace, ModelFactors]:
        """The packed trace of the model with the sites summed out enumerated, and its factors."""
        recorded = self._scored(values)
        recorded.pack_tensors()
        return recorded, model_factors(recorded, Trace())

    def _scored(self, values: Values) -> Trace:
        recorded = self.traced(values)
        recorded.add_log_probs()
        return recorded

    def marginals(self, values: Values) -> dict[str, Tensor]:
        """Log probabilities of the values of each site summed out, ``(*plates, values)``."""
        recorded, parts = self.run(values)
        sites = {name: recorded.nodes[name] for name in recorded.nodes if name in self.summed}
        return dict(posterior_logits(recorded, sites, parts))

    def log_likelihood(self, values: Values) -> dict[str, Tensor]:
        """The log density of each event of the data, without the scales of plates; masked events have 0.

        Data that depend on sites summed out have the log of the sum; sites that depend on the same such site
        are one entry, whose name joins theirs by ``+``.

        Raises:
            ModelError: if rows of data depend on each other through what is summed out.
        """
        if not self.summed:  # nothing is contracted, so batch dims need no plates
            sites = self._scored(values).nodes
            return {name: _unsummed(sites[name]) for name in self.shapes}
        recorded, parts = self.run(values)
        found = {}
        for names in _connected(recorded, parts.sum_dims):
            data = [name for name in names if name in self.shapes]
            if data and parts.sum_dims.isdisjoint(dims_of(recorded.nodes[data[0]].packed.unscaled_log_prob)):
                found[data[0]] = _unsummed(recorded.nodes[data[0]])
            elif data:
                found["+".join(data)] = self._joint(recorded, parts, names, data)
        return found

    def _joint(
        self, recorded: Trace, parts: ModelFactors, names: Sequence[str], data: Sequence[str]
    ) -> Tensor:
        """The log density of data together, with what they depend on summed out."""
        factors: ByOrdinal = OrderedDict()
        for name in names:
            site = recorded.nodes[name]
            if name not in self.summed and name not in data:
                raise ModelError(
                    f"site {name!r} depends on a site that is summed out, as {data} do: their log density given "
                    f"{name!r} is not known\n"
                    "The way out: ember.report.joint_draws(...) draws the discrete sites, too; give its draws."
                )
            own = site.packed.unscaled_log_prob if name in self.summed else masked_log_prob(site)
            factors.setdefault(parts.ordering[name], []).append(own)
        ((ordinal, terms),) = contract_tensor_tree(factors, set(parts.sum_dims)).items()
        for name in data:
            joined = parts.ordering[name] - ordinal
            if joined or self.shapes[name] != self.shapes[data[0]]:
                raise ModelError(
                    f"the data of {data} depend on each other through {sorted(self.summed & set(names))}, which are "
                    "summed out: they have no log density of their own, one by one\n"
                    "The way out: ember.report.joint_draws(...) draws the discrete sites, too; give its draws."
                )
        together = sum(packed.unpack(term, recorded.symbol_to_dim) for term in terms)
        return torch.as_tensor(together).expand(self.shapes[data[0]])

    def _enumerated(self, site: Site) -> dict[str, object]:
        return {"enumerate": "parallel"} if site.name in self.summed else {}


def _connected(trace: Trace, sum_dims: set[str]) -> list[list[str]]:
    """The names of sample sites, together where they share what is summed out."""
    groups: list[tuple[set[str], list[str]]] = []
    for site in trace.samples():
        dims = sum_dims & set(dims_of(site.packed.unscaled_log_prob))
        joined = [group for group in groups if group[0] & dims]
        for group in joined:
            groups.remove(group)
        names = [name for group in joined for name in group[1]]
        groups.append((dims.union(*(group[0] for group in joined)), [*names, site.name]))
    return [names for _, names in groups]


def _unsummed(site: Site) -> Tensor:
    density: Tensor = site.unscaled_log_prob
    if site.mask is None:
        return density
    return torch.where(torch.as_tensor(site.mask), density, torch.zeros_like(density))


def first_run(model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], values: Values) -> Trace:
    """One run of a model at given values; it takes nothing from the caller's handlers."""
    with torch.no_grad(), block():
        recorded: Trace = trace(condition(model, data=dict(values))).get_trace(*args, **kwargs)
    return recorded
