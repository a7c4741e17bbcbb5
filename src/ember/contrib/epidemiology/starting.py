"""Where a fit starts: a run of a model that agrees with the data, found by sequential Monte Carlo."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.contrib.epidemiology.interface import CompartmentalInterface, State
from ember.infer.posterior.smcfilter import SMCFailed, SMCFilter, SMCState
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class _Filtered:
    """A model, step by step, as :class:`~ember.infer.SMCFilter` runs it."""

    def __init__(self, model: CompartmentalInterface) -> None:
        self.model = model
        self.t = 0

    def init(self, state: SMCState) -> None:
        """The global variables and the first step, since what is before it is not random."""
        self.t = 0
        with self.model.new_plates(), poutine.trace() as recorded:
            params = self.model.global_model()
        drawn = {name: site.value for name, site in recorded.trace.nodes.items() if _is_kept(site)}
        self._step(state, drawn | self.model.initialize(params))

    def step(self, state: SMCState) -> None:
        """One step of time."""
        self._step(state, dict(state))

    def _step(self, state: SMCState, values: State) -> None:
        with self.model.new_plates():
            with poutine.block(), poutine.condition(data=values):
                params = self.model.global_model()
            after = values | {f"{name}_approx": values[name] for name in self.model.approximate}
            with poutine.trace() as recorded:
                self.model.transition(params, after, self.t)
        drawn = {
            name: site.value
            for name, site in recorded.trace.nodes.items()
            if _is_kept(site) and not site.is_observed
        }
        self.t += 1
        approximations = {f"{name}_approx" for name in self.model.approximate}
        self._keep(state, {name: x for name, x in (after | drawn).items() if name not in approximations})

    def _keep(self, state: SMCState, values: State) -> None:
        size, dims = len(state.log_weights), self.model.max_plate_nesting + 1
        for name, value in values.items():
            value = torch.as_tensor(value)
            if value.dim() < dims:  # the same in all particles
                value = value.expand((size,) + (1,) * (dims - 1 - value.dim()) + value.shape)
            state[name] = value


class _Proposed(_Filtered):
    """The same as a guide: proposals from the prior, nothing is observed and nothing kept."""

    def init(self, state: SMCState) -> None:
        with poutine.block(hide_types=["observe"]):
            super().init(state)

    def step(self, state: SMCState) -> None:
        with poutine.block(hide_types=["observe"]):
            super().step(state)

    def _keep(self, state: SMCState, values: State) -> None:
        pass


def _is_kept(site: Site) -> bool:
    return site.type == "sample" and not site.is_subsample


class InShape(Messenger):
    """Gives sites values, reshaped to what the site has: dims of plates that a site is not in are dropped."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Site) -> None:
        value = self.values.get(msg.name)
        if value is not None:
            msg.value = value.reshape(msg.fn.shape()) if value.numel() == msg.fn.shape().numel() else value
            msg.is_observed = True


def feasible(
    model: CompartmentalInterface,
    num_particles: int,
    ess_threshold: float,
    retries: int,
    logger: logging.Logger,
) -> dict[str, Tensor]:
    """The most probable particle after all steps: the values of sites, and the last counts.

    Args:
        model: the model.
        num_particles: how many runs are tried at a time.
        ess_threshold: they are resampled when fewer of them count, as a share.
        retries: how often all may fail.
        logger: is told of failures.

    Raises:
        SMCFailed: if no run agrees with the data.
    """
    smc = SMCFilter(
        _Filtered(model),
        _Proposed(model),
        num_particles=num_particles,
        ess_threshold=ess_threshold,
        max_plate_nesting=model.max_plate_nesting,
    )
    for attempt in range(retries):
        try:
            smc.init()
            for _ in range(1, model.duration):
                smc.step()
            break
        except SMCFailed as error:
            if attempt == retries - 1:
                raise
            logger.info(f"{error}. Retrying...")
    best = int(smc.state.log_weights.argmax())
    return {name: value[best, 0] for name, value in smc.state.items()}


def describe(values: dict[str, Any]) -> str:
    """The scalars among the values, in one line."""
    return ", ".join(f"{name}={float(x):0.3g}" for name, x in sorted(values.items()) if x.numel() == 1)
