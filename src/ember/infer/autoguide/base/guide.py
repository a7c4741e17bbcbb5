"""The base of automatic guides: the prototype, the plates, and parts of larger guides."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from ember.errors import ModelError
from ember.infer.autoguide.base.data_sites import children_of, left_to_the_model
from ember.infer.autoguide.base.given_rows import rows_given
from ember.infer.autoguide.base.initialization import InitFn, InitMessenger
from ember.infer.autoguide.base.layout import SiteLayout, layouts_of
from ember.infer.autoguide.base.masks import Mask, add_mask, masks_of
from ember.infer.autoguide.base.parts import Part
from ember.infer.autoguide.base.prototype import full_size_of, prototype_hide_fn, record, vectorized_frames
from ember.infer.autoguide.saving import Savable
from ember.params.param_store import get_param_store
from ember.poutine.handlers import block, condition
from ember.poutine.messenger import unwrap
from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace
from ember.primitives import plate
from ember.rng import fork_rng

Program = Callable[..., Any]


class AutoGuide(Part, Savable):
    """Makes a guide from a model; the base of such guides.

    The first call runs the model once, hidden from all handlers, to learn its latent sites; parameters come
    into being then. Subclasses define ``forward``, with the model's arguments, which returns the values of
    the sites by name.

    Args:
        model: the model.
        create_plates: takes the model's arguments and returns a plate or several, to be used instead of those
            that the guide makes by itself. A plate that the model gives its rows
            (``plate(..., subsample=rows)``) gets the same rows in the guide without this.

    Raises:
        NotImplementedError: at the first call, for latent sites in sequential plates.
    """

    def __init__(self, model: Program, *, create_plates: Program | None = None) -> None:
        super().__init__(name=type(self).__name__)
        self._model: tuple[Program] | None = (model,)  # in a tuple: no submodule
        self.create_plates = create_plates
        self.prototype_trace: Trace | None = None
        self.plates: dict[str, Any] = {}
        self._prototype_frames: dict[str, CondIndepStackFrame] = {}
        self._given_plates: frozenset[str] = frozenset()
        self._hidden_sites: set[str] = set()
        self._absent_data: dict[str, Tensor] = {}

    @property
    def model(self) -> Program:
        """The model that the guide is for. Raises ModelError in a guide from a pickle, which holds none."""
        if self._model is None:
            raise ModelError(
                f"this {type(self).__name__} was pickled, and models are not pickled with their guides: "
                "set guide._model = (model,)"
            )
        return self._model[0]

    def program(self) -> object:
        return None if self._model is None else unwrap(self._model[0])

    # ---- copies and pickles ---------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.update(_model=None, master=None, plates={})
        state.pop("_layout_cache", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.own_parts()

    def __deepcopy__(self, memo: dict[int, Any]) -> AutoGuide:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        new._model = self._model
        return new

    # ---- the prototype --------------------------------------------------------------------------------------------

    _prototype_hide_fn = staticmethod(prototype_hide_fn)

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        """Run the model once and note its latent sites and plates; subclasses make their parameters after that."""
        recorded, given = self._record(args, kwargs)
        frames = vectorized_frames(recorded, "AutoGuide")
        self._adopt_prototype(recorded, frames, given)

    def _record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Trace, frozenset[str]]:
        """The trace of the latent sites, and the plates that were given their rows.

        Sites of data that this first call does not give are told by the parameters, if there are any.
        """
        self._absent_data = {}
        recorded, given = record(self.model, self._prototype_hide_fn, args, kwargs)
        absent = self._sites_left_to_model(recorded, args, kwargs) if self._has_parameters() else set()
        if absent:
            self._absent_data = {name: recorded.nodes[name].value for name in absent}
            recorded, given = record(self._with_data(self.model), self._prototype_hide_fn, args, kwargs)
        return recorded, given

    def _with_data(self, model: Program) -> Program:
        """A model whose sites of data are observed, those without data at stand-ins."""
        conditioned: Program = condition(model, data=self._absent_data) if self._absent_data else model
        return conditioned

    def _parameter_of(self, site: str) -> str | None:
        """The name, below the guide's own, of a parameter that a latent site has; None in guides where that is not known."""
        return None

    def _sites_left_to_model(
        self, recorded: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> set[str]:
        """The sites that look latent in a run, but are data according to the parameters in the store.

        Raises:
            ValueError: if that cannot be told.
        """
        store = get_param_store()
        places = {name: self._parameter_of(name) for name, _ in recorded.iter_stochastic_nodes()}
        missing = {
            name for name, place in places.items() if place and f"{self._pyro_name}.{place}" not in store
        }
        if not missing or len(missing) == len(places):
            return set()
        return left_to_the_model(missing, children_of(self.model, args, kwargs))

    def _adopt_prototype(
        self, recorded: Trace, frames: dict[str, CondIndepStackFrame], given: frozenset[str]
    ) -> None:
        master = None if self.master is None else self.master()
        if master is not None:
            master._check_prototype(recorded)
        for _, site in recorded.iter_stochastic_nodes():
            if isinstance(site.value, Tensor):
                site.value = site.value.detach()
        self.prototype_trace = recorded
        self._prototype_frames = frames
        self._given_plates = given

    def _check_prototype(self, part_trace: Trace) -> None:
        """Look at what a part of this guide has found; nothing is wrong, unless a subclass says so."""

    def ensure_prototype(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set the guide up unless that has been done; an error leaves it as if it had not been tried.

        Args:
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
        """
        if self.prototype_trace is not None:
            return
        self.__dict__.pop("_layout_cache", None)
        try:
            # Where the parameters are there already, a fit goes on: the prototype leaves its random numbers alone.
            with fork_rng() if self._has_parameters() else nullcontext():
                self._setup_prototype(*args, **kwargs)
        except BaseException:
            self.prototype_trace = None
            self._prototype_frames, self._given_plates = {}, frozenset()
            raise

    def prepare(self, *args: object, **kwargs: object) -> AutoGuide:
        """Make all parameters now, so that ``parameters()`` is complete before the first step.

        Args:
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.

        Returns:
            The guide itself.

        >>> import torch, ember
        >>> from ember.infer.autoguide import AutoNormal
        >>> def model():
        ...     ember.sample("x", ember.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> [name for name, _ in AutoNormal(model).prepare().named_parameters()]
        ['locs.x_unconstrained', 'scales.x_unconstrained']
        """
        block(self)(*args, **kwargs)
        return self

    def set_up_again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set up a guide whose parameters are in the store, if these arguments of the model are enough.

        Args:
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.
        """
        if self.prototype_trace is None and self._has_parameters() and _accepts(self.program(), args, kwargs):
            self.ensure_prototype(args, kwargs)

    def _prototype(self) -> Trace:
        if self.prototype_trace is None:
            raise RuntimeError(
                f"this {type(self).__name__} has no parameters yet, since it has not been run: call guide.prepare(...) with the "
                "arguments of the model, or take a step, first"
            )
        return self.prototype_trace

    def _latent_sites(self) -> Iterator[tuple[str, Site]]:
        return self._prototype().iter_stochastic_nodes()

    def _layouts(self) -> list[SiteLayout]:
        """What is known about the latent sites of a continuous guide."""
        cached: list[SiteLayout] | None = self.__dict__.get("_layout_cache")
        if cached is None:
            cached = self.__dict__["_layout_cache"] = layouts_of(self._prototype())
        return cached

    # ---- plates ---------------------------------------------------------------------------------------------------

    def _create_plates(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """The plates of this call, by name; parts of a larger guide use those of the whole."""
        if self.master is not None:
            assert self.create_plates is None, "Cannot pass create_plates() to non-master guide"
            master = self.master()
            assert master is not None
            self.plates = master.plates
            return self.plates
        plates = self._users_plates(args, kwargs)
        given = self._given_plates - plates.keys()
        rows = {}
        if given & self._prototype_frames.keys():
            rows = rows_given(
                self.model, given & self._prototype_frames.keys(), self._prototype(), args, kwargs
            )
        for name, frame in sorted(self._prototype_frames.items()):
            if name not in plates:
                plates[name] = plate_like(frame, rows.get(name))
        self.plates = plates
        return plates

    def _users_plates(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.create_plates is None:
            return {}
        made = self.create_plates(*args, **kwargs)
        plates = [made] if isinstance(made, plate) else list(made)
        assert all(isinstance(p, plate) for p in plates), "create_plates() returned a non-plate"
        return {p.name: p for p in plates}

    @contextmanager
    def _plates_of(self, site: Site) -> Iterator[None]:
        """The plates around a site, entered."""
        with ExitStack() as stack:
            for frame in site.cond_indep_stack:
                if frame.vectorized:
                    stack.enter_context(self.plates[frame.name])
            yield

    def _is_subsampled(self, site: Site) -> bool:
        """Whether a plate around the site sees a part of its rows in this call."""
        return any(
            full_size_of(frame) != self.plates[frame.name].subsample_size
            for frame in site.cond_indep_stack
            if frame.vectorized
        )

    # ---- masks ----------------------------------------------------------------------------------------------------

    def mask_like(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Give the terms of the guide the masks that the model's latent sites have in this run.

        Args:
            model_trace: a trace of the model, replayed against the guide.
            guide_trace: a trace of the guide; its sites are changed.
        """
        masks = masks_of(model_trace)
        if masks:
            own = dict(self._latent_sites())
            self._mask_terms({name: mask for name, mask in masks.items() if name in own}, guide_trace)

    def _mask_terms(self, masks: dict[str, Mask], guide_trace: Trace) -> None:
        """Mask the guide's sites; subclasses that draw at auxiliary sites mask those too."""
        for name, mask in masks.items():
            if name in guide_trace.nodes:
                add_mask(guide_trace.nodes[name], mask)

    # ---- the model's sites after the first call ---------------------------------------------------------------------

    def check_model(
        self, model_trace: Trace, guide_trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Look at the sites that the model has in this run: are they those of the guide's first call?

        Args:
            model_trace: of the model, replayed against the guide.
            guide_trace: of the guide.
            args: the arguments of both.
            kwargs: the keyword arguments of both.

        Raises:
            ValueError: if a latent site appears in the guide's own model now, but did not then; or if one has
                data now.
        """
        self._check_data(model_trace, guide_trace)
        unknown = {
            name
            for name, site in model_trace.iter_stochastic_nodes()
            if name not in guide_trace.nodes and not site_is_subsample(site)
        }
        unknown = unknown - self._hidden_sites - self._absent_data.keys()
        if not unknown or self.prototype_trace is None:
            return
        with fork_rng():
            now, _ = record(self.model, self._prototype_hide_fn, args, kwargs)
        new = sorted(unknown & set(now.stochastic_nodes) - set(self.prototype_trace.nodes))
        if new:
            raise ModelError(
                f"the model has latent sites {new} that it did not have when {type(self).__name__} was first called: a guide "
                "learns the sites from one run. Make the model use the same sites in every run, or make a new guide."
            )
        self._hidden_sites |= unknown

    def _check_data(self, model_trace: Trace, guide_trace: Trace) -> None:
        for name, _ in [] if self.prototype_trace is None else self._latent_sites():
            site = model_trace.nodes.get(name)
            if site is not None and site.is_observed and name in guide_trace.nodes:
                raise ModelError(
                    f"site {name!r} has data now, but had none when {type(self).__name__} was first called, so the guide took it "
                    "for a latent site and would invent it. Make a new guide, after ember.clear_param_store(), and call it with "
                    "the data first: guide.prepare(...)."
                )

    # ---- what subclasses say ----------------------------------------------------------------------------------------

    def call(self, *args: object, **kwargs: object) -> tuple[Any, ...]:
        """Return the values of the sites as a tuple, sorted by name, for :func:`torch.jit.trace_module`."""
        result = self(*args, **kwargs)
        return tuple(value for _, value in sorted(result.items()))

    def sample_latent(self, *args: object, **kwargs: object) -> Any:
        """Return a draw of the packed latent vector, where the guide has one."""

    def median(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Return the median of each latent site under the guide, by name."""
        raise NotImplementedError(f"{type(self).__name__} has no median")

    def quantiles(self, quantiles: Any, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Quantiles of each latent site under the guide, by name; the first dim is that of the quantiles."""
        raise NotImplementedError(f"{type(self).__name__} has no quantiles")


def plate_like(frame: CondIndepStackFrame, rows: Any = None) -> Any:
    """A plate for a guide, like that of the model which left this frame.

    Args:
        frame: what the plate left on the model's sites.
        rows: the rows to use; by default as many as the model's plate had are drawn.
    """
    full_size = full_size_of(frame)
    if full_size == -1:
        return plate(frame.name, dim=frame.dim)
    if rows is not None:
        return plate(frame.name, full_size, subsample=rows, dim=frame.dim)
    return plate(frame.name, full_size, subsample_size=frame.size, dim=frame.dim)


def with_initializer(model: Program, init_loc_fn: InitFn) -> Program:
    """The model, with latent sites that start where ``init_loc_fn`` says."""
    initialized: Program = InitMessenger(init_loc_fn)(model)
    return initialized


def check_init_scale(init_scale: Any) -> float:
    """The scale, if it is a positive float.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(init_scale, float) or not (init_scale > 0):
        raise ModelError(f"Expected init_scale > 0. but got {init_scale}")
    return init_scale


def _accepts(program: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a program can be called with these arguments."""
    try:
        inspect.signature(program.forward if isinstance(program, nn.Module) else program).bind(
            *args, **kwargs
        )
    except (TypeError, ValueError):
        return False
    return True
