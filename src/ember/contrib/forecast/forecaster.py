"""Fitting a forecasting model by variational inference, and drawing forecasts of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ember import poutine
from ember.contrib.forecast.coefficients import (
    TIME,
    MarkDCTParamMessenger,
    time_reparam_dct,
    time_reparam_haar,
)
from ember.contrib.forecast.model import RESIDUAL
from ember.contrib.forecast.model import ForecastingModel as ForecastingModel
from ember.contrib.forecast.prefixes import (
    PrefixConditionMessenger,
    PrefixReplayMessenger,
    PrefixWarmStartMessenger,
)
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal, init_to_sample
from ember.infer.step.compile_mode import effective_mode
from ember.infer.traces.plate_nesting import guess_max_plate_nesting
from ember.optim import DCTAdam, PyroOptim
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

Program = Callable[..., Any]

# The logger that programs written for Pyro turn down.
logger = logging.getLogger("pyro.contrib.forecast.forecaster")

# Fewer steps are over before a program for them is there.
_WORTH_COMPILING = 100
_REPARAMS = {"haar": time_reparam_haar, "dct": time_reparam_dct}


class Forecaster(nn.Module):
    """Fits a forecasting model, and draws forecasts when called.

    Where there are 100 steps or more (or the setting ``compile`` says so) they are taken by a native program, if there can be
    one; ``ember.capture.explain(forecaster.svi)`` says what has become of it.

    Args:
        model: the model.
        data: ``(..., time, n)``.
        covariates: ``(..., time, m)``; ``torch.empty(time, 0)`` for none.
        guide: :class:`~ember.infer.autoguide.AutoNormal` if None.
        init_loc_fn: where that starts.
        init_scale: how wide it is at first.
        create_plates: for that guide: gives plates that take a part of their rows, in training.
        optim: :class:`~ember.optim.DCTAdam` if None, with the options that follow.
        learning_rate: the first one.
        betas: decay rates of its averages.
        learning_rate_decay: the last rate over the first.
        clip_norm: where entries of gradients are cut off.
        time_reparam: ``"haar"`` or ``"dct"``: latent variables in the time plate by their coefficients of the cosine
            transform (``"haar"``) or of Haar wavelets (``"dct"``): the names are Pyro's.
        dct_gradients: whether gradients of time series are followed in time and frequency at once.
        subsample_aware: whether statistics of gradients change for the rows that were drawn only.
        num_steps: steps of :class:`~ember.infer.SVI`.
        num_particles: of the ELBO.
        vectorize_particles: whether they are drawn side by side; False for models with control flow.
        warm_start: start from the parameters that the store has for the beginning of these times. For a first look: what
            is known of later times leaks into the earlier ones.
        log_every: steps between lines of the log; none if zero.

    Attributes:
        losses: of the steps, for one datum.
        svi: what took them, None if there were none.
        max_plate_nesting: of model and guide.

    Raises:
        AssertionError: if data and covariates are of other lengths.
        ValueError: for another ``time_reparam``.
    """

    def __init__(
        self,
        model: ForecastingModel,
        data: Tensor,
        covariates: Tensor,
        *,
        guide: Any = None,
        init_loc_fn: Callable[..., Any] = init_to_sample,
        init_scale: float = 0.1,
        create_plates: Callable[..., Any] | None = None,
        optim: PyroOptim | None = None,
        learning_rate: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.99),
        learning_rate_decay: float = 0.1,
        clip_norm: float = 10.0,
        time_reparam: str | None = None,
        dct_gradients: bool = False,
        subsample_aware: bool = False,
        num_steps: int = 1001,
        num_particles: int = 1,
        vectorize_particles: bool = True,
        warm_start: bool = False,
        log_every: int = 100,
    ) -> None:
        check_times(data, covariates)
        if time_reparam is not None and time_reparam not in _REPARAMS:
            raise ValueError(f"unknown time_reparam: {time_reparam}; there are 'haar' and 'dct'")
        super().__init__()
        self.model, self._times = model, data.size(-2)
        self._time_reparam = time_reparam
        fitted = self._reparametrised()
        if guide is None:
            guide = AutoNormal(
                fitted, init_loc_fn=init_loc_fn, init_scale=init_scale, create_plates=create_plates
            )
        self.guide: Any = guide
        if optim is None and num_steps:
            rate = {"lr": learning_rate, "lrd": learning_rate_decay ** (1 / num_steps), "betas": betas}
            optim = DCTAdam({**rate, "clip_norm": clip_norm, "subsample_aware": subsample_aware})
        programs = (
            _handled(fitted, warm_start, dct_gradients),
            _handled(self.guide, warm_start, dct_gradients),
        )
        elbo = Trace_ELBO(num_particles=num_particles, vectorize_particles=vectorize_particles)
        nesting = guess_max_plate_nesting(*programs, (data, covariates), {}) + elbo.settings.particle_plates
        # There is a plate over time, whether it is used or not.
        self.max_plate_nesting = elbo.max_plate_nesting = max(nesting, 1)
        self.svi = _svi(programs, optim, elbo, num_steps)
        self.losses = [] if self.svi is None else _trained(self.svi, data, covariates, num_steps, log_every)
        self.guide.create_plates = None  # forecasts are of all rows

    def _reparametrised(self) -> Program:
        if self._time_reparam is None:
            return self.model
        return poutine.reparam(self.model, _REPARAMS[self._time_reparam])

    def __call__(
        self, data: Tensor, covariates: Tensor, num_samples: int, batch_size: int | None = None
    ) -> Tensor:
        """Draw forecasts of times after those of the data: as many as there are more of covariates.

        Args:
            data: ``(..., t, n)``.
            covariates: ``(..., t + f, m)``.
            num_samples: how many draws.
            batch_size: draws at a time, to save memory; all if None.

        Returns:
            Joint draws, ``(num_samples, 1, ..., 1) + data.shape[:-2] + (f, n)``; the dims of size 1 are those of plates.

        Raises:
            AssertionError: if there are fewer times of covariates than of data, or ``num_samples`` is not positive.
        """
        return super().__call__(data, covariates, num_samples, batch_size)  # type: ignore[no-any-return]

    def forward(
        self, data: Tensor, covariates: Tensor, num_samples: int, batch_size: int | None = None
    ) -> Tensor:
        """See :meth:`__call__`."""
        assert data.size(-2) <= covariates.size(-2), (
            f"there are data of {data.size(-2)} times, and covariates of {covariates.size(-2)} only"
        )
        assert isinstance(num_samples, int) and num_samples > 0, f"num_samples is positive, got {num_samples}"
        if batch_size is None:
            return self._drawn(data, covariates, num_samples)
        assert batch_size > 0, f"batch_size is positive, got {batch_size}"
        sizes = [min(batch_size, num_samples - first) for first in range(0, num_samples, batch_size)]
        return torch.cat([self._drawn(data, covariates, size) for size in sizes])

    @torch.no_grad()
    def _drawn(self, data: Tensor, covariates: Tensor, num_samples: int) -> Tensor:
        particles = plate("particles", num_samples, dim=-1 - self.max_plate_nesting)
        with poutine.block(), poutine.trace() as tr, particles:
            self.guide(data, covariates)
        with particles:
            if data.size(-2) == covariates.size(-2):
                return poutine.replay(self.model, trace=tr.trace)(data, covariates)  # type: ignore[no-any-return]
            known = self._own_sites(tr.trace, data, covariates)
            with PrefixReplayMessenger(known, data.size(-2)), PrefixConditionMessenger(self.model.seen):
                return self.model(data, covariates)  # type: ignore[no-any-return]

    def _own_sites(self, trace: Trace, data: Tensor, covariates: Tensor) -> Trace:
        """What the guide has drawn, as values of the model's own sites instead of coefficients."""
        if self._time_reparam is None:
            return trace
        # Coefficients are of the times that were fitted, however many there are data of now; no latent value
        # depends on data.
        assert covariates.size(-2) >= self._times, (
            f"fitted to {self._times} times with time_reparam={self._time_reparam!r}, and the covariates are of "
            f"{covariates.size(-2)}"
        )
        fitted = data.new_zeros((*data.shape[:-2], self._times, data.size(-1)))
        with poutine.block(), poutine.trace() as tr, poutine.replay(trace=trace):
            self._reparametrised()(fitted, covariates[..., : self._times, :])
        known: Trace = tr.trace.copy()
        known.remove_node(RESIDUAL)
        return known


def check_times(data: Tensor, covariates: Tensor) -> None:
    """Raise AssertionError if data and covariates have no dim of time, or are of other lengths."""
    assert data.dim() >= 2 and covariates.dim() >= 2, (
        f"data and covariates have a dim of time and one more, got shapes {tuple(data.shape)} and "
        f"{tuple(covariates.shape)}; unsqueeze(-1) makes one series of a vector"
    )
    assert data.size(-2) > 0, f"there are data of no times: their shape is {tuple(data.shape)}"
    assert data.size(-2) == covariates.size(-2), (
        f"data and covariates are of as many times, got {data.size(-2)} and {covariates.size(-2)}"
    )


def _handled(program: Program, warm_start: bool, dct_gradients: bool) -> Program:
    if warm_start:
        program = PrefixWarmStartMessenger()(program)
    return MarkDCTParamMessenger(TIME)(program) if dct_gradients else program


def _svi(
    programs: tuple[Program, Program], optim: PyroOptim | None, elbo: Trace_ELBO, num_steps: int
) -> SVI | None:
    assert num_steps >= 0, f"num_steps is at least 0, got {num_steps}"
    if optim is None or not num_steps:
        return None
    mode = effective_mode(None, "auto" if num_steps >= _WORTH_COMPILING else False)
    return SVI(*programs, optim, elbo, compile=mode)


def _trained(svi: SVI, data: Tensor, covariates: Tensor, num_steps: int, log_every: int) -> list[float]:
    """Take steps, and log the first and every so many after it."""
    losses: list[float] = []
    while len(losses) < num_steps:
        ahead = num_steps - len(losses)
        if log_every:
            ahead = min(ahead, 1 if not losses else log_every)
        run = svi.run(ahead, data, covariates, progress=False)
        losses += [loss / data.numel() for loss in run.losses.tolist()]
        if log_every and (len(losses) - 1) % log_every == 0:
            logger.info(f"step {len(losses) - 1: >4d} loss = {losses[-1]:0.6g}")
    return losses
