"""Models of the structure S-I-R in one region."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ember import distributions as dist
from ember.contrib.epidemiology.distributions import binomial_dist, infection_dist
from ember.contrib.epidemiology.interface import State, Time
from ember.contrib.epidemiology.models.steps import (
    SIR,
    Data,
    flow,
    observed_at,
    reproduction_and_response,
)
from ember.primitives import deterministic, sample


class SimpleSIRModel(SIR):
    """Susceptible, infected and recovered individuals.

    In each time step an infectious individual infects each susceptible one with probability ``R0 /
    recovery_time / population``, and recovers with probability ``1 / recovery_time``.

    Args:
        population: of all compartments.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def global_model(self) -> Any:
        """``R0``, the recovery time, and the response rate ``rho``."""
        R0, rho = reproduction_and_response()
        return R0, self.recovery_time, rho

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, recoveries, observations."""
        R0, tau, rho = params
        self.observe(self.spread(state, t, rate=R0 / tau), t, rho)


class OverdispersedSIRModel(SIR):
    """:class:`SimpleSIRModel` with flows and observations that are more dispersed, by one global parameter
    ``od``.

    Args:
        population: of all compartments.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.

    References:
        D. Champredon, M. Li, B. M. Bolker, J. Dushoff (2018), "Two approaches to forecast Ebola synthetic
        epidemics".
    """

    def global_model(self) -> Any:
        """``R0``, the recovery time, ``rho`` and ``od``."""
        R0, rho = reproduction_and_response()
        return R0, self.recovery_time, rho, sample("od", dist.Beta(2, 6))

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, recoveries, observations."""
        R0, tau, rho, od = params
        self.observe(self.spread(state, t, rate=R0 / tau, overdispersion=od), t, rho, od)


class SuperspreadingSIRModel(SIR):
    """:class:`SimpleSIRModel` in which few individuals infect many.

    All infections by an individual take place in one step, as in Li et al.; their number is beta-binomial,
    with the concentration ``k``, which is small where a few do most of it.

    Args:
        population: of all compartments.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.

    References:
        J. O. Lloyd-Smith, S. J. Schreiber, P. E. Kopp, W. M. Getz (2005), "Superspreading and the effect of
        individual variation on disease emergence".
        L. M. Li, N. C. Grassly, C. Fraser (2017), "Quantifying transmission heterogeneity using both pathogen
        phylogenies and incidence time series".
    """

    def global_model(self) -> Any:
        """``R0``, ``k``, the recovery time and ``rho``."""
        R0 = sample("R0", dist.LogNormal(0.0, 1.0))
        k = sample("k", dist.Exponential(1.0))
        return R0, k, self.recovery_time, sample("rho", dist.Beta(10, 10))

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Recoveries, infections, observations."""
        R0, k, tau, rho = params
        I2R = flow("I2R", t, binomial_dist(state["I"], 1 / tau))
        infections = infection_dist(
            individual_rate=R0,
            num_susceptible=state["S"],
            num_infectious=state["I"],
            population=self.population,
            concentration=k,
        )
        S2I = flow("S2I", t, infections)
        state["S"] = state["S"] - S2I
        state["I"] = state["I"] + S2I - I2R
        self.observe(S2I, t, rho)


class HeterogeneousSIRModel(SIR):
    """:class:`SimpleSIRModel` whose reproductive number drifts, and whose response rate has three levels.

    The reproductive number is ``R0`` times ``beta``, a random walk of its logarithm. The response rate has
    one value for 14 time steps, another for 7, and a third from then on.

    Args:
        population: of all compartments.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def global_model(self) -> Any:
        """``R0``, the recovery time, and the response rate as a series."""
        R0 = sample("R0", dist.LogNormal(0.0, 1.0))
        levels = [sample(f"rho{i}", dist.Beta(a, 4)) for i, a in enumerate((2, 4, 8))]
        rho = deterministic("rho", _levels(levels, (14, 7, max(60, self.duration - 21))), event_dim=1)
        return R0, self.recovery_time, rho

    def initialize(self, params: Any) -> State:
        """One infected individual, and a factor of one."""
        return {**super().initialize(params), "beta": torch.tensor(1.0)}

    def transition(self, params: Any, state: State, t: Time) -> None:
        """The drift, infections, recoveries, observations."""
        R0, tau, rho = params
        state["beta"] = flow("beta", t, dist.LogNormal(state["beta"].log(), 0.1))
        Rt = deterministic(f"Rt_{t}", R0 * state["beta"])
        self.observe(self.spread(state, t, rate=Rt / tau), t, _at(rho, t))


class SparseSIRModel(SIR):
    """:class:`SimpleSIRModel` with cumulative observations at some of the time steps.

    The compartment O counts all observations so far. Where they are given it is what they say.

    Args:
        population: of the compartments S, I and R.
        recovery_time: mean number of time steps in I, above 1.
        data: cumulative observed infections, one entry a time step.
        mask: whether there is an observation, one bool a time step; elsewhere the entry of ``data`` may be
            anything.

    Raises:
        AssertionError: for arguments out of range, or a mask of another length.

    Its observations have no noise, so that they fit no relaxed counts: it is for simulations.
    """

    def __init__(self, population: int, recovery_time: float, data: Data, mask: Any) -> None:
        assert len(data) == len(mask), f"data has {len(data)} entries, mask has {len(mask)}"
        super().__init__(population, recovery_time, data)
        self.compartments = ("S", "I", "O")
        self.mask = mask

    def global_model(self) -> Any:
        """``R0``, the recovery time, and ``rho``."""
        R0, rho = reproduction_and_response()
        return R0, self.recovery_time, rho

    def initialize(self, params: Any) -> State:
        """One infected individual; nothing was observed."""
        return {**super().initialize(params), "O": 0}

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, recoveries, observations."""
        R0, tau, rho = params
        S2I = self.spread(state, t, rate=R0 / tau)
        state["O"] = state["O"] + flow("S2O", t, binomial_dist(S2I, rho))
        is_forecast = isinstance(t, int) and t >= self.duration
        exact = dist.Delta(torch.as_tensor(state["O"])).mask(False if is_forecast else self.mask[t])
        flow("obs", t, exact, obs=observed_at(self.data, t, self.duration))

    def compute_flows(self, prev: State, curr: State, t: Time) -> State:
        """An infection may be observed too, so that flows of S are counted twice."""
        S2I = prev["S"] - curr["S"]
        return {
            f"S2I_{t}": S2I,
            f"I2R_{t}": prev["I"] - curr["I"] + S2I,
            f"S2O_{t}": curr["O"] - prev["O"],
        }


class UnknownStartSIRModel(SIR):
    """:class:`SimpleSIRModel` whose first infection comes from outside at an unknown time.

    There is one infection from outside, on average, in a window before the data, and the same rate
    afterwards. The response rate is one before the data, another from then on.

    Args:
        population: of all compartments.
        recovery_time: mean number of time steps in I, above 1.
        pre_obs_window: how many time steps there are before the data.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def __init__(self, population: int, recovery_time: float, pre_obs_window: int, data: Data) -> None:
        assert isinstance(pre_obs_window, int) and pre_obs_window > 0, (
            f"pre_obs_window is a positive int, and not {pre_obs_window!r}"
        )
        self.pre_obs_window = pre_obs_window
        self.post_obs_window = len(data)
        self.external_rate = 1 / pre_obs_window
        before = [0.0] * pre_obs_window
        padded: Data = (
            pad(data, (pre_obs_window, 0), value=0.0) if isinstance(data, Tensor) else [*before, *data]
        )
        super().__init__(population, recovery_time, padded)

    def global_model(self) -> Any:
        """``R0``, infectious individuals outside, the recovery time, and the response rate as a series."""
        R0 = sample("R0", dist.LogNormal(0.0, 1.0))
        levels = [sample(name, dist.Beta(10, 10)) for name in ("rho0", "rho1")]
        rho = _levels(levels, (self.pre_obs_window, self.post_obs_window))
        return R0, self.external_rate * self.recovery_time / R0, self.recovery_time, rho

    def initialize(self, params: Any) -> State:
        """Nobody is infected."""
        return {"S": self.population, "I": 0}

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, recoveries, observations."""
        R0, X, tau, rho = params
        S2I = self.spread(state, t, rate=R0 / tau, imported=X)
        self.observe(S2I, t, _at(rho, t))

    def predict(self, forecast: int = 0) -> dict[str, Tensor]:
        """As :meth:`CompartmentalModel.predict`, with ``first_infection``: the time from the start of the
        window.

        Args:
            forecast: how many more time steps.

        Raises:
            RuntimeError: if there was no fit.
        """
        samples = super().predict(forecast)
        return samples | {"first_infection": samples["I"].cumsum(-1).eq(0).sum(-1)}


def _at(series: Tensor, t: Time) -> Tensor:
    """A global series at a time, or at all times in the dim of the plate of time, which is the last of its
    batch. A number, which a program may have given for it, is that of all times."""
    if series.dim() == 0:
        return series
    if isinstance(t, int):
        return series[..., min(t, series.size(-1) - 1)]  # the last goes on
    return series[..., t] if series.dim() == 1 else series.squeeze(-2)[..., t]


def _levels(values: list[Tensor], durations: tuple[int, ...]) -> Tensor:
    """A series that is constant for so many time steps each."""
    pieces = [x.unsqueeze(-1).expand((*x.shape, n)) for x, n in zip(values, durations, strict=True)]
    return torch.cat(pieces, dim=-1)
