"""Guides that draw each site in the run of the model itself, given what is upstream: the base."""

from __future__ import annotations

from abc import ABCMeta
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ember.distributions.torch_distribution import MaskedDistribution
from ember.errors import ModelError
from ember.infer.autoguide.base.data_sites import children_of, left_to_the_model
from ember.infer.autoguide.base.guide import Program
from ember.infer.autoguide.base.initialization import InitFn, checked_start
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.prototype import prototype_hide_fn, record
from ember.infer.autoguide.base.support import transform_of
from ember.infer.traces.validation import is_validation_enabled
from ember.nn.module import PyroModule, PyroParam, pyro_method
from ember.ops.tensor_utils import periodic_repeat
from ember.params.param_store import get_param_store
from ember.poutine.handlers import block
from ember.poutine.rewriting.guide import GuideMessenger
from ember.poutine.runtime import get_plates
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.rng import fork_rng


class AutoMessengerMeta(ABCMeta, type(PyroModule)):  # type: ignore[misc]
    """The class of :class:`AutoMessenger`."""


class AutoMessenger(GuideMessenger, PyroModule, metaclass=AutoMessengerMeta):  # type: ignore[metaclass]
    """Draws latent sites in the run of the model, as a handler; the base of such guides.

    Parameters come into being at the first call.

    Args:
        model: the model.
        amortized_plates: names of plates whose rows share parameters.
    """

    def __init__(self, model: Program, *, amortized_plates: tuple[str, ...] = ()) -> None:
        super().__init__(model)
        # The chain of constructors above ends in that of PyroModule, without a name.
        self._pyro_name = type(self).__name__
        self.amortized_plates = tuple(amortized_plates)
        self._outer_plates: tuple[str, ...] = ()
        self._data_sites: set[str] = set()
        self._unsure_sites: set[str] = set()
        self._data_told = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        # Whether all latent sites have parameters that are found by their names; a user's get_posterior may do without.
        by_user = "get_posterior" in vars(cls) and "posterior_by_name" not in vars(cls)
        cls.posterior_by_name = cls.posterior_by_name and not by_user

    posterior_by_name = True
    """Whether each latent site ``x`` has a parameter ``locs.x``."""

    @pyro_method
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model with sites drawn from the guide.

        Returns:
            The values of all sample sites by name, observed and deterministic ones among them.
        """
        # Plates around the guide belong to particles: parameters that are made now must not get their dims.
        self._outer_plates = tuple(frame.name for frame in get_plates())
        try:
            if not self._data_told:
                self._data_told = True
                self._tell_data(args, kwargs)
            return super().__call__(*args, **kwargs)
        finally:
            self._outer_plates = ()

    def resumes(self) -> bool:
        """Whether the guide is new and finds its parameters in the store: a fit goes on in another process."""
        return not self._data_told and self._has_parameters()

    def _has_parameters(self) -> bool:
        prefix = f"{self._pyro_name}.locs."
        return any(name.startswith(prefix) for name in get_param_store())

    def _tell_data(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the first call: which sites that look latent are data, according to the parameters in the store?"""
        if not self._has_parameters():
            return
        prefix, store = f"{self._pyro_name}.locs.", get_param_store()
        with fork_rng():
            recorded, _ = record(self.model, prototype_hide_fn, args, kwargs)
        missing = {name for name in recorded.stochastic_nodes if prefix + name not in store}
        left = left_to_the_model(missing, children_of(self.model, args, kwargs)) if missing else set()
        if self.posterior_by_name:
            self._data_sites |= left
        else:
            self._unsure_sites = left

    def _pyro_sample(self, msg: Site) -> None:
        prior, name = msg.fn, msg.name
        if msg.is_observed:
            self._data_sites.add(name)
        elif name in self._data_sites:
            return  # data in other calls: what the model draws is what it predicts
        super()._pyro_sample(msg)
        if isinstance(prior, MaskedDistribution) and msg.fn is not prior:
            msg.fn = msg.fn.mask(prior.applied_mask)

    def __getstate__(self) -> dict[str, Any]:
        state = PyroModule.__getstate__(self)
        state.pop("trace", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        PyroModule.__setstate__(self, state)  # type: ignore[no-untyped-call]
        self.trace = Trace(self.graph_type)

    def call(self, *args: object, **kwargs: object) -> tuple[Any, ...]:
        """Return the values as a tuple, in the order of their names; for :func:`torch.jit.trace_module`."""
        result = self(*args, **kwargs)
        return tuple(value for _, value in sorted(result.items()))

    def prepare(self, *args: object, **kwargs: object) -> AutoMessenger:
        """Make all parameters now, so that ``parameters()`` is complete before the first step.

        Args:
            args: of the model.
            kwargs: of the model.

        Returns:
            The guide itself.
        """
        block(self)(*args, **kwargs)
        return self

    @torch.no_grad()
    def _adjust_plates(self, value: Tensor, event_dim: int) -> Tensor:
        """An initial value for the rows of all plates, once for those whose rows share it."""
        for frame in get_plates():
            if frame.dim is None:
                raise NotImplementedError(
                    f"{type(self).__name__} does not support sequential pyro.plate ({frame.name!r}); use it with 'with'"
                )
            full_size, dim = frame.full_size or frame.size, frame.dim - event_dim
            if frame.name in self._outer_plates or frame.name in self.amortized_plates:
                if -value.dim() <= dim:
                    value = value.mean(dim, keepdim=True)
            elif frame.size != full_size:
                value = periodic_repeat(value, full_size, dim)
        while value.dim() > event_dim and value.shape[0] == 1:
            value = value.squeeze(0)
        # Never the user's own tensor: training would change it in place.
        return value.detach().clone().contiguous()

    def _start(self, init_loc_fn: InitFn, name: str, prior: Any) -> tuple[Tensor, int]:
        """The unconstrained start of a site for the rows of all plates, and its event dim."""
        if name in self._unsure_sites:
            raise ModelError(
                f"{type(self).__name__} has parameters in the store, but none for the site {name!r}, which looks latent in this "
                "first call. If it is observed in others, call the guide with the data first, guide.prepare(...); if the "
                "parameters are of another model, call ember.clear_param_store()."
            )
        site = Site(name=name, fn=prior)
        transform = transform_of(site)
        event_dim = prior.event_dim + transform.domain.event_dim - transform.codomain.event_dim
        known = f"{self._pyro_name}.locs.{name}" in get_param_store()
        # Where the parameter is there already, a fit goes on: its start leaves the fit's random numbers alone.
        with torch.no_grad(), fork_rng() if known else nullcontext():
            constrained = init_loc_fn(site)
            if is_validation_enabled():
                constrained = checked_start(init_loc_fn, site, constrained)
            start = transform.inv(constrained.detach())
            if is_validation_enabled() and not bool(start.isfinite().all()):
                raise ModelError(
                    f"the initial value of site {name!r} is at the border of its support; choose another init_loc_fn"
                )
        return self._adjust_plates(start, event_dim), event_dim

    def _has(self, group: str, name: str) -> bool:
        try:
            deep_getattr(getattr(self, group), name)
        except AttributeError:
            return False
        return True

    def _declare(self, group: str, name: str, declared: PyroParam) -> None:
        deep_setattr(self, f"{group}.{name}", declared)
