"""Guides that the user writes, with statements that take care of many sites at once."""

from __future__ import annotations

import re
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from torch import Tensor

from ember import distributions as dist
from ember.contrib.easyguide.group import Group as Group
from ember.errors import ModelError
from ember.infer.autoguide.base.given_rows import rows_given
from ember.infer.autoguide.base.guide import plate_like
from ember.infer.autoguide.base.initialization import InitMessenger
from ember.infer.autoguide.base.masks import add_mask, masks_of
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.prototype import at_full_size, prototype_hide_fn, record, vectorized_frames
from ember.nn.module import PyroModule, PyroParam
from ember.params.param_store import get_param_store
from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.runtime import THREAD
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.primitives import plate, sample
from ember.rng import fork_rng

Program = Callable[..., Any]


class _EasyGuideMeta(type(PyroModule), ABCMeta):  # type: ignore[misc]
    """The class of :class:`EasyGuide`."""


class EasyGuide(PyroModule, metaclass=_EasyGuideMeta):  # type: ignore[metaclass]
    """Base of guides that are written as a method :meth:`guide`, in which these statements may be used:

    - ``self.group(match)`` for the sites whose names match, to be drawn as one vector (:meth:`Group.sample`);
    - ``self.map_estimate(name)`` for a site that gets a point;
    - ``with self.plate(...)`` in place of ``with plate(...)``.

    Args:
        model: the model.

    >>> import torch, ember
    >>> def model():
    ...     ember.sample("x", dist.Normal(0.0, 1.0))
    ...     ember.sample("y", dist.Gamma(2.0, 1.0))
    >>> class Guide(EasyGuide):
    ...     def guide(self):
    ...         group = self.group()
    ...         loc = ember.param("loc", torch.zeros(group.event_shape))
    ...         group.sample("xy", dist.Normal(loc, 1.0).to_event(1))
    >>> trace = ember.poutine.trace(Guide(model)).get_trace()
    >>> trace.stochastic_nodes
    ['xy', 'x', 'y']
    """

    def __init__(self, model: Program) -> None:
        super().__init__(name=type(self).__name__)
        self._model = (model,)  # in a tuple: no submodule
        self.prototype_trace: Trace | None = None
        self.frames: dict[str, CondIndepStackFrame] = {}
        self.groups: dict[str, Group] = {}
        self.plates: dict[str, Any] = {}
        self._given_plates: frozenset[str] = frozenset()
        self._rows: dict[str, Any] = {}

    @property
    def model(self) -> Program:
        """The model that the guide is for."""
        return self._model[0]

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        model = InitMessenger(self.init)(self.model)
        recorded, given = record(model, prototype_hide_fn, args, kwargs)
        self.frames.update(vectorized_frames(recorded, "EasyGuide"))
        for _, site in recorded.iter_stochastic_nodes():
            site.value = site.value.detach()
        self.prototype_trace, self._given_plates = recorded, given

    @abstractmethod
    def guide(self, *args: object, **kargs: object) -> Any:
        """The guide, with the model's arguments."""
        raise NotImplementedError

    def init(self, site: Any) -> Tensor:
        """Where a site starts: a draw from its prior, unless overridden."""
        start: Tensor = site.fn()
        return start

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Run the guide."""
        if self.prototype_trace is None:
            # Where parameters of the guide's are there already, a fit goes on: the prototype leaves its random numbers alone.
            prefix = f"{self._pyro_name}."
            known = any(name.startswith(prefix) for name in get_param_store())
            with fork_rng() if known else nullcontext():
                self._setup_prototype(*args, **kwargs)
        assert self.prototype_trace is not None
        given = self._given_plates & self.frames.keys()
        try:
            if given:
                self._rows = rows_given(self.model, given, self.prototype_trace, args, kwargs)
            return self.guide(*args, **kwargs)
        finally:
            self.plates.clear()
            self._rows = {}

    def mask_like(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Give the terms of groups and estimates the masks that the model's latent sites have in this run.

        Args:
            model_trace: of the model, replayed against the guide.
            guide_trace: of the guide; its sites are changed.
        """
        masks = masks_of(model_trace)
        for group in self.groups.values():
            group.mask_terms(masks, guide_trace)
        for name, mask in masks.items():
            site = guide_trace.nodes.get(name)
            if site is not None and isinstance(site.fn, dist.Delta):
                add_mask(site, mask)

    def plate(
        self,
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """The plate of a name, made on first use in a run; as in :class:`ember.plate`.

        A plate of the model's that is asked for by name alone is made like the model's, with the rows that the model was given.
        """
        if name not in self.plates:
            frame = self.frames.get(name)
            if size is None and frame is not None and not args and not kwargs:
                self.plates[name] = plate_like(frame, self._rows.get(name))
            else:
                self.plates[name] = plate(name, size, subsample_size, subsample, *args, **kwargs)
        return self.plates[name]

    def group(self, match: str = ".*") -> Group:
        """The sites of the model whose names match a regular expression (from their start).

        Raises:
            ValueError: if there are none.
        """
        assert self.prototype_trace is not None, "group() is for use inside guide()"
        if match not in self.groups:
            sites = [s for name, s in self.prototype_trace.iter_stochastic_nodes() if re.match(match, name)]
            if not sites:
                known = ", ".join(self.prototype_trace.stochastic_nodes)
                raise ModelError(
                    f"EasyGuide.group() pattern {match!r} matched no model sites; there are: {known}"
                )
            self.groups[match] = Group(self, sites)
        return self.groups[match]

    def map_estimate(self, name: str) -> Tensor:
        """Draw a site from a point, which is a parameter of the site's name: the posterior's mode, when fitted."""
        assert self.prototype_trace is not None, "map_estimate() is for use inside guide()"
        site = self.prototype_trace.nodes[name]
        fn = site.fn
        try:
            deep_getattr(self, name)
        except AttributeError:
            deep_setattr(
                self,
                name,
                PyroParam(at_full_size(site.value, site, fn.event_dim), fn.support, fn.event_dim),
            )
        with self.plates_around(site):
            value: Tensor = sample(name, dist.Delta(deep_getattr(self, name), event_dim=fn.event_dim))
        return value

    @contextmanager
    def plates_around(self, site: Site) -> Iterator[None]:
        """Enter those plates around a site that are not active."""
        with ExitStack() as stack:
            for frame in site.cond_indep_stack:
                own = self.plate(frame.name)
                if own not in THREAD.stack:
                    stack.enter_context(own)
            yield


def easy_guide(model: Program) -> Callable[[Callable[..., Any]], EasyGuide]:
    """Decorator that makes an :class:`EasyGuide` of a function ``(self, *args, **kwargs)``; the guide cannot be pickled.

    >>> import ember
    >>> def model():
    ...     ember.sample("x", dist.Normal(0.0, 1.0))
    >>> @easy_guide(model)
    ... def guide(self):
    ...     return self.map_estimate("x")
    >>> guide().shape
    torch.Size([])
    """

    def decorator(fn: Callable[..., Any]) -> EasyGuide:
        made: EasyGuide = type(fn.__name__, (EasyGuide,), {"guide": fn})(model)
        return made

    return decorator
