"""What a compartmental model defines, and what can be read off one step of it."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.caller import stacklevel
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

State = dict[str, Any]
Time = int | slice


class CompartmentalInterface(ABC):
    """A model in discrete time of how many individuals are in each compartment.

    Subclasses define :meth:`initialize` and :meth:`transition`, and if need be :meth:`global_model`,
    :meth:`compute_flows` and :meth:`finalize`.

    Args:
        compartments: the names of those whose counts do not follow from the others; there is a flow for each.
        duration: the number of time steps.
        population: how many individuals there are in all; for a model of regions a vector, one entry a
            region.
        approximate: names of compartments of which the state has a real-valued estimate too, as
            ``state["I_approx"]``.

    Attributes:
        samples: draws of the posterior by site, once the model is fitted.
        is_regional: whether there is a dim for regions.
        max_plate_nesting: 1 for time alone, 2 for time and regions.

    Warns:
        RuntimeWarning: if counts of that many are not exact in the default dtype.

    Raises:
        AssertionError: for a duration below 1, a population below 2 (below 1 in a region), names that repeat,
            or names in ``approximate`` that are no compartments.
    """

    def __init__(
        self,
        compartments: Iterable[str],
        duration: int,
        population: int | Tensor,
        *,
        approximate: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        assert isinstance(duration, int) and duration >= 1, (
            f"duration is an int, at least 1, and not {duration!r}"
        )
        self.duration = duration
        self.is_regional = isinstance(population, Tensor)
        _check_population(population)
        self.population = population
        _warn_if_inexact(population)
        self.max_plate_nesting = 2 if self.is_regional else 1
        self.compartments = tuple(compartments)
        assert all(isinstance(name, str) for name in self.compartments), (
            f"compartments are names: {compartments!r}"
        )
        assert len(set(self.compartments)) == len(self.compartments), (
            f"compartments repeat: {self.compartments}"
        )
        assert isinstance(approximate, tuple), f"approximate is a tuple of names, and not {approximate!r}"
        assert set(approximate) <= set(self.compartments), (
            f"approximate={approximate} names others than the compartments {self.compartments}"
        )
        self.approximate = approximate
        self.samples: dict[str, Tensor] = {}
        self._plates: dict[str, Any] = {}

    @property
    def time_plate(self) -> Any:
        """A plate over time, left of that of regions."""
        dim = -2 if self.is_regional else -1
        return self._plate("time", lambda: plate("time", self.duration, dim=dim))

    @property
    def region_plate(self) -> Any:
        """A plate over regions; a context that does nothing if there are none."""
        if not isinstance(self.population, Tensor):
            return self._plate("region", ExitStack)
        size = len(self.population)
        return self._plate("region", lambda: plate("region", size, dim=-1))

    def _plate(self, name: str, make: Any) -> Any:
        if name not in self._plates:
            self._plates[name] = make()
        return self._plates[name]

    @contextmanager
    def new_plates(self) -> Iterator[None]:
        """One run of a program, which has plates of its own."""
        before, self._plates = self._plates, {}
        try:
            yield
        finally:
            self._plates = before

    @cached_property
    def full_mass(self) -> list[tuple[str, ...]]:
        """A list of one tuple, the names of global latent variables."""
        with self.new_plates(), torch.no_grad(), poutine.block(), poutine.trace() as recorded:
            self.global_model()
        sites = recorded.trace.iter_stochastic_nodes()
        return [tuple(name for name, site in sites if not site.is_subsample)]

    @cached_property
    def series(self) -> frozenset[str]:
        """The names of sites that are sampled in each time step, without the number of the step."""
        trace, _ = self._first_step()
        sites = ((name, site) for name, site in trace.nodes.items() if site.type == "sample")
        return frozenset(_without_time(name) for name, site in sites if not site.is_subsample)

    @cached_property
    def latent_series(self) -> dict[str, tuple[Any, bool]]:
        """Latent variables of each step that are no flows: name -> distribution, and whether there is one for
        each region."""
        trace, flows = self._first_step()
        found = {}
        for name, site in trace.iter_stochastic_nodes():
            if name not in flows and not site.is_subsample:
                is_local = any(frame.name == "region" for frame in site.cond_indep_stack)
                found[_without_time(name)] = site.fn, is_local
        # Where there are such variables, Pyro draws the series here: so do we, for the same draws from one
        # seed.
        assert not found or found.keys() <= self.series
        return found

    def _first_step(self) -> tuple[Trace, State]:
        """A trace of :meth:`transition` at time 0, and the flows."""
        with self.new_plates(), torch.no_grad(), poutine.block():
            params = self.global_model()
            prev = dict(self.initialize(params))
            prev |= {f"{name}_approx": prev[name] for name in self.approximate}
            curr = dict(prev)
            with poutine.trace() as recorded:
                self.transition(params, curr, 0)
            return recorded.trace, self.compute_flows(prev, curr, 0)

    def global_model(self) -> Any:
        """Sample what does not change over time, and return it."""
        return None

    @abstractmethod
    def initialize(self, params: Any) -> State:
        """How many are in each compartment before the first step.

        Args:
            params: what :meth:`global_model` returned.
        """

    @abstractmethod
    def transition(self, params: Any, state: State, t: Time) -> None:
        """One time step: sample the flows at sites ``S2I_{t}`` and so on, change the state, observe.

        It is called for one step with an int, and for all steps at once with a slice; values may have batch
        dims on the left.

        Args:
            params: what :meth:`global_model` returned.
            state: name of compartment -> count; to be changed in place.
            t: the time; at or after ``duration`` in forecasts, where nothing is observed.
        """

    def finalize(self, params: Any, prev: State, curr: State) -> None:  # noqa: B027 - it may be left out
        """Observe what depends on several time steps at once. It is not used to find where a fit starts.

        Args:
            params: what :meth:`global_model` returned.
            prev: the time series of compartments, before each step.
            curr: after it.

        Raises:
            NotImplementedError: if latent variables are sampled here, where validation is on.
        """

    def compute_flows(self, prev: State, curr: State, t: Time) -> State:
        """The flows that make one state of another, by the names of their sites.

        Here individuals move from each compartment to the next, and from the last to one that is named "R"
        and has no count; for other structures this is to be overridden.

        Args:
            prev: the counts before the step.
            curr: those after it.
            t: the time.
        """
        flows: State = {}
        flow: Any = 0
        for source, target in zip(self.compartments, (*self.compartments[1:], "R"), strict=True):
            flow = prev[source] - curr[source] + flow
            flows[f"{source}2{target}_{t}"] = flow
        return flows


def _check_population(population: Any) -> None:
    if isinstance(population, Tensor):
        assert population.dim() == 1, (
            f"a population of regions is a vector, not of shape {tuple(population.shape)}"
        )
        assert bool((population >= 1).all()), f"each region has at least one individual: {population}"
    else:
        assert isinstance(population, int) and population >= 2, (
            f"population is an int, at least 2, or a vector, one entry a region, and not {population!r}"
        )


def _warn_if_inexact(population: int | Tensor) -> None:
    largest = int(torch.as_tensor(population).max())
    dtype = torch.get_default_dtype()
    if largest * torch.finfo(dtype).eps > 1:
        warnings.warn(
            f"counts up to a population of {largest:,} are not exact in {dtype}; "
            "call torch.set_default_dtype(torch.float64) first",
            RuntimeWarning,
            stacklevel=stacklevel(),
        )


def _without_time(name: str) -> str:
    match = re.fullmatch(r"(.*)_0", name)
    if match is None:
        raise ValueError(
            f'site {name!r} of transition() has no time in its name; write it as f"{name}_{{t}}"'
        )
    return match.group(1)
