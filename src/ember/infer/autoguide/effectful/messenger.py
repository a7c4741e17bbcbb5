"""Guides that draw each site in the run of the model itself, given what is upstream: the base."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.infer.autoguide.base.guide import Program
from ember.infer.autoguide.base.initialization import InitFn, checked_start
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.support import transform_of
from ember.infer.traces.validation import is_validation_enabled
from ember.nn.module import PyroModule, PyroParam, pyro_method
from ember.ops.tensor_utils import periodic_repeat
from ember.poutine.guide import GuideMessenger
from ember.poutine.handlers import block
from ember.poutine.runtime import get_plates
from ember.poutine.trace_struct import Trace


class AutoMessengerMeta(ABCMeta, type(PyroModule)):  # type: ignore[misc]
    """The class of :class:`AutoMessenger`."""


class AutoMessenger(GuideMessenger, PyroModule, metaclass=AutoMessengerMeta):  # type: ignore[metaclass]
    """Base of guides that are handlers and have parameters, which come into being at the first call.

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

    @pyro_method
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model with sites drawn from the guide.

        Returns:
            The values of all sample sites by name, observed and deterministic ones among them.
        """
        # Plates around the guide belong to particles: parameters that are made now must not get their dims.
        self._outer_plates = tuple(frame.name for frame in get_plates())
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self._outer_plates = ()

    def __getstate__(self) -> dict[str, Any]:
        state = PyroModule.__getstate__(self)
        state.pop("trace", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        PyroModule.__setstate__(self, state)  # type: ignore[no-untyped-call]
        self.trace = Trace(self.graph_type)

    def call(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The values as a tuple, in the order of their names; for :func:`torch.jit.trace_module`."""
        result = self(*args, **kwargs)
        return tuple(value for _, value in sorted(result.items()))

    def prepare(self, *args: Any, **kwargs: Any) -> AutoMessenger:
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
        site: Any = {"name": name, "fn": prior}
        transform = transform_of(site)
        event_dim = prior.event_dim + transform.domain.event_dim - transform.codomain.event_dim
        with torch.no_grad():
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
