"""A model as functions of one row of coordinates: tensors in, tensors out. Everything over many rows is made of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from ember.capture.recording.assumptions import answered
from ember.capture.recording.value_guard import is_recording
from ember.distributions.validation import values_unchecked
from ember.infer.density.handlers import Placed, PlacedParameters, Unconstraining
from ember.infer.density.layout import Program
from ember.infer.density.structure import Structure
from ember.infer.enumeration.traceenum_elbo import EnumTerms
from ember.infer.traces.settings import Settings
from ember.ops.scalars import total
from ember.params.param_store import ParamStoreDict
from ember.poutine.enumeration.enum_messenger import EnumMessenger
from ember.poutine.handlers import block, infer_config, trace
from ember.poutine.messenger import Messenger
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.poutine.validation import structure_unchecked

P = ParamSpec("P")
R = TypeVar("R")


def _in_precision(method: Callable[Concatenate[Joint, P], R]) -> Callable[Concatenate[Joint, P], R]:
    """A method that runs in the precision of the program."""

    @wraps(method)
    def run(joint: Joint, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with joint.program.precision():
            return method(joint, *args, **kwargs)

    return run


@dataclass(frozen=True)
class Joint:
    """A model, its sites, and the store with its parameters."""

    program: Program
    structure: Structure
    store: ParamStoreDict

    @_in_precision
    def log_density(self, row: Tensor) -> Tensor:
        """The log joint density at a row, with the Jacobians of the maps to the supports.

        Shapes:
            row: ``(D,)``.
            result: a scalar.
        """
        recorded, placed = self._run(row)
        recorded.add_log_probs()
        jacobian = placed.log_jacobian()
        if not self.structure.enumerated:
            terms = [site.log_prob_sum for site in recorded.samples()]
            result: Tensor = torch.as_tensor(total([*terms, jacobian]), dtype=row.dtype)
            return result
        recorded.pack_tensors()
        # A guide without sites: what is left of the bound is the density itself.
        summed = EnumTerms().estimate(recorded, Trace(), Settings()).elbo
        return torch.as_tensor(summed + jacobian, dtype=row.dtype)

    def finite_density(self, row: Tensor) -> Tensor:
        """The same, but ``-inf`` where it is not finite, or where validation finds what is invalid."""
        return _finite(self.log_density(row))[0]

    @_in_precision
    def scored(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`finite_density` and its gradient, 0 where either is not finite."""
        with torch.enable_grad():
            leaf = row.detach().requires_grad_()
            value, good = _finite(self.log_density(leaf))
            slope = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        slope = torch.zeros_like(row) if slope is None else slope
        return value.detach(), torch.where(good & slope.isfinite(), slope, 0.0)

    @_in_precision
    def constrained(self, row: Tensor) -> dict[str, Tensor]:
        """The values of latent and deterministic sites, and of parameters that are coordinates.

        Deterministic sites that depend on enumerated ones have no value, and are left out.
        """
        with values_unchecked():
            recorded, _ = self._run(row)
        values = {name: recorded.nodes[name].value for name in self.structure.blocks}
        for name, shape in self.structure.deterministic.items():
            if recorded.nodes[name].value.shape == shape:
                values[name] = recorded.nodes[name].value
        return values | {name: recorded.nodes[name].value for name in self.structure.parameters}

    @_in_precision
    def log_likelihood(self, row: Tensor) -> dict[str, Tensor]:
        """The log density of each event at the observed sites, without the scales of plates; masked events have 0."""
        recorded, _ = self._run(row)
        recorded.add_log_probs(lambda name, _: name in self.structure.observed)
        result = {}
        for name in self.structure.observed:
            site = recorded.nodes[name]
            mask = site.mask
            log_prob = site.unscaled_log_prob
            if isinstance(mask, Tensor):
                log_prob = torch.where(mask, log_prob, log_prob.new_zeros(()))
            result[name] = torch.zeros_like(log_prob) if mask is False else log_prob
        return result

    @_in_precision
    def unconstrained(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The unconstrained values of latent sites, given constrained ones, where supports depend on values.

        Raises:
            ModelError: if a value is outside of its support.
        """
        handler = Unconstraining(self.structure.blocks, values, self.structure.enumerated)
        with torch.no_grad(), values_unchecked():
            self._trace(handler)
        handler.check_all_seen()
        return handler.found

    def _run(self, row: Tensor) -> tuple[Trace, Placed]:
        structure = self.structure
        values = {name: b.take(row) for name, b in structure.all_blocks.items()}
        placed = Placed(structure.blocks, values, structure.enumerated)
        recorded = self._trace(placed, PlacedParameters(structure.parameters, values))
        placed.check_all_seen()
        return prune_subsample_sites(recorded), placed

    def _trace(self, *handlers: Messenger) -> Trace:
        """Run the model inside of these handlers, out of sight of those around the call."""
        program, structure = self.program, self.structure
        model = program.model
        for handler in handlers:
            model = handler(model)
        if structure.enumerated:
            model = infer_config(model, config_fn=self._to_enumerate)
            model = EnumMessenger(first_available_dim=-1 - structure.nesting)(model)
        # What the first run has been checked for needs no look in a program.
        with self.store.active(), structure_unchecked() if is_recording() else nullcontext():
            recorded: Trace = block(trace(model).get_trace)(*program.args, **program.kwargs)
        return recorded

    def _to_enumerate(self, site: Site) -> dict[str, object]:
        return {"enumerate": "parallel"} if site.name in self.structure.enumerated else {}


def _finite(value: Tensor) -> tuple[Tensor, Tensor]:
    """A log density, ``-inf`` where it does not count; and whether it does."""
    good = value.detach().isfinite()
    # A program answers by itself what validation asks: Python would only find that an argument is invalid.
    valid = answered()
    if valid is not None:
        good = good & valid
    return torch.where(good, value, -torch.inf), good
