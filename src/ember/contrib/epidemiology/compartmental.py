"""Compartmental models: simulated, fitted by variational inference, and carried on into the future.

Counts are integers; the fit relaxes them to real numbers. Its model samples the counts of all compartments at
all times, without a density of their own, and weighs them by the flows between them, each with the mean and
the variance of its binomial distribution. So all time steps are scored at once. Predictions round the counts.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Never

import torch
from torch import Tensor

from ember import infer, optim, poutine
from ember.contrib.epidemiology.distributions import set_approx_log_prob_tol, set_approx_sample_thresh
from ember.contrib.epidemiology.interface import CompartmentalInterface
from ember.contrib.epidemiology.programs import AUXILIARY, generative, relaxed, sequential
from ember.contrib.epidemiology.starting import InShape, describe, feasible
from ember.contrib.epidemiology.tensors import clamp
from ember.contrib.epidemiology.wavelets import NoWavelets, Wavelets
from ember.distributions.typed_torch import broadcast_tensors
from ember.infer.autoguide import AutoLowRankMultivariateNormal, AutoMultivariateNormal, AutoNormal
from ember.infer.autoguide.base.initialization import init_to_value
from ember.infer.step.compile_mode import effective_mode
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

# The logger that programs written for Pyro turn down.
logger = logging.getLogger("pyro.contrib.epidemiology.compartmental")

# Fewer steps are over before a program for them is there.
_WORTH_COMPILING = 100


class CompartmentalModel(CompartmentalInterface):
    """Base of stochastic compartmental models in discrete time; see :class:`CompartmentalInterface` for what
    they define.

    Example:

    >>> from ember.contrib.epidemiology.models import SimpleSIRModel
    >>> model = SimpleSIRModel(100, 7.0, [None] * 10)
    >>> data = model.generate({"R0": 2.0, "rho": 0.5})["obs"]
    >>> model = SimpleSIRModel(100, 7.0, data)
    >>> losses = model.fit_svi(num_samples=5, num_steps=10, num_particles=4, heuristic_num_particles=64)
    >>> model.predict(forecast=4)["I"].shape
    torch.Size([5, 14])
    """

    @torch.no_grad()
    @set_approx_sample_thresh(1000)
    def generate(self, fixed: Mapping[str, Any] = {}) -> dict[str, Tensor]:
        """Simulate from the prior.

        Args:
            fixed: values of sites that depend on nothing, such as global parameters.

        Returns:
            The values of all sites by name; those of time steps as one series, without the number of the
                step.
        """
        values = {name: torch.as_tensor(value) for name, value in fixed.items()}
        trace = poutine.trace(poutine.condition(partial(generative, self), values)).get_trace()
        samples = {name: site.value for name, site in trace.nodes.items() if site.type == "sample"}
        return self._with_series(samples, trace, self.duration)

    def fit_svi(
        self,
        *,
        num_samples: int = 100,
        num_steps: int = 2000,
        num_particles: int = 32,
        learning_rate: float = 0.1,
        learning_rate_decay: float = 0.01,
        betas: tuple[float, float] = (0.8, 0.99),
        haar: bool = True,
        init_scale: float = 0.01,
        guide_rank: int | str | None = 0,
        jit: bool = False,
        log_every: int = 200,
        **options: Any,
    ) -> list[float]:
        """Fit by stochastic variational inference, and draw ``samples`` of the posterior.

        Args:
            num_samples: how many are drawn.
            num_steps: how many steps are taken, and one more.
            num_particles: draws of the guide in each.
            learning_rate: the first of :class:`~ember.optim.ClippedAdam`.
            learning_rate_decay: the last over the first.
            betas: of the optimizer.
            haar: sample the series in Haar wavelets.
            init_scale: the first standard deviation of the guide.
            guide_rank: 0 for independent normals, ``"full"`` for a dense covariance, a positive int or None
                for one of low rank; these need more steps.
            jit: for Pyro's sake. 100 steps and more are compiled where they can be, unless the setting
                ``compile`` says no.
            log_every: how often a loss is logged.
            options: ``heuristic_...`` for :meth:`heuristic`.

        Returns:
            The losses of the steps, each over the number of time steps.

        Raises:
            AssertionError: for other options.
            ValueError: for no steps or samples, or an unknown ``guide_rank``; if :meth:`transition`
                contradicts :meth:`compute_flows`.
            SMCFailed: if no start is found that agrees with the data.
        """
        check_whole("num_steps", num_steps, 1)
        check_whole("num_samples", num_samples, 1)
        wavelets = Wavelets.of(self) if haar else NoWavelets()
        start = init_to_value(values=self._start(options), fallback=None)
        logger.info("Running inference...")
        model = wavelets.reparam(partial(relaxed, self))
        guide = _guide(model, guide_rank, init_loc_fn=start, init_scale=init_scale)
        objective = infer.Trace_ELBO(
            max_plate_nesting=self.max_plate_nesting, num_particles=num_particles, vectorize_particles=True
        )
        decay = learning_rate_decay ** (1 / num_steps)
        rule = optim.ClippedAdam({"lr": learning_rate, "betas": betas, "lrd": decay})
        # A store of its own: another fit starts anew, and leaves alone what the program has in its store.
        mode = effective_mode(None, "auto" if num_steps >= _WORTH_COMPILING else False)
        svi = infer.SVI(model, guide, rule, objective, param_store="own", compile=mode)
        losses = self._trained(svi, 1 + num_steps, log_every)
        with svi.store().active():
            samples = self._drawn(model, guide, num_samples)
        self.samples = wavelets.to_series(samples)
        return losses

    def _start(self, options: dict[str, Any]) -> dict[str, Tensor]:
        prefix = "heuristic_"
        unknown = [name for name in options if not name.startswith(prefix)]
        assert not unknown, f"unrecognized options: {', '.join(unknown)}"
        with poutine.block():
            values = self.heuristic(**{name.removeprefix(prefix): value for name, value in options.items()})
        assert isinstance(values, dict), (
            f".heuristic() returned {type(values).__name__}, and no dict of values"
        )
        assert AUXILIARY in values, ".heuristic() did not define auxiliary value"
        logger.info(f"Heuristic init: {describe(values)}")
        return values

    def _trained(self, svi: infer.SVI, num_steps: int, log_every: int) -> list[float]:
        def log(step: int, loss: float) -> None:
            logger.info(f"step {step} loss = {loss / self.duration:0.4g}")

        start = time.perf_counter()
        run = svi.run(num_steps, progress=False, callback=log, callback_interval=log_every)
        seconds = time.perf_counter() - start
        logger.info(f"SVI took {seconds:0.1f} seconds, {num_steps / seconds:0.1f} step/sec")
        return [loss / self.duration for loss in run.losses.tolist()]

    @torch.no_grad()
    def _drawn(self, model: Any, guide: Any, num_samples: int) -> dict[str, Tensor]:
        with self._particles(num_samples):
            guide_trace = poutine.trace(guide).get_trace()
        with self._particles(num_samples):
            model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace()
        return {
            name: site.value
            for name, site in model_trace.nodes.items()
            if site.type == "sample" and not site.is_observed and not site.is_subsample
        }

    def _particles(self, num_samples: int) -> Any:
        return plate("particles", num_samples, dim=-1 - self.max_plate_nesting)

    def fit_mcmc(self, **options: Any) -> Never:
        """Not in Ember, which fits by variational inference.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "fit_mcmc() is not in Ember, which fits by variational inference only. Instead: "
            'fit_svi(guide_rank="full"), whose guide has all correlations, or sample with NUTS in Pyro'
        )

    @torch.no_grad()
    @set_approx_log_prob_tol(0.1)
    @set_approx_sample_thresh(10000)
    def predict(self, forecast: int = 0) -> dict[str, Tensor]:
        """Draw all variables given the data, after a fit, and what comes after.

        Args:
            forecast: how many more time steps.

        Returns:
            The values of all sites by name, ``num_samples`` along the first dim.

        Raises:
            RuntimeError: if there was no fit.
            ValueError: if ``forecast`` is no whole number, or negative.
        """
        check_whole("forecast", forecast, 0)
        if not self.samples:
            raise RuntimeError("Missing samples, try running .fit_svi() first")
        num_samples = len(next(iter(self.samples.values())))
        logger.info(f"Predicting latent variables for {self.duration} time steps...")
        trace, samples = self._run_in_particles(partial(sequential, self), self.samples, num_samples)
        samples = {name: value.expand(trace.nodes[name].fn.shape()) for name, value in samples.items()}
        if forecast:
            logger.info(f"Forecasting {forecast} steps ahead...")
            program = partial(generative, self, forecast)
            trace, samples = self._run_in_particles(program, samples, num_samples)
        return self._with_series(samples, trace, self.duration + forecast)

    def _run_in_particles(
        self, program: Any, given: dict[str, Tensor], num_samples: int
    ) -> tuple[Trace, dict[str, Tensor]]:
        with self._particles(num_samples):
            trace = poutine.trace(poutine.condition(program, given)).get_trace()
        values = {
            name: site.value
            for name, site in trace.nodes.items()
            if site.type == "sample" and not site.is_subsample and not site.is_factor
        }
        return trace, values

    @torch.no_grad()
    @set_approx_log_prob_tol(0.1)
    @set_approx_sample_thresh(100)
    def heuristic(
        self, num_particles: int = 1024, ess_threshold: float = 0.5, retries: int = 10
    ) -> dict[str, Tensor]:
        """Values of all latent variables that agree with the data, where a fit starts.

        These are of the most probable particle of a filter that proposes from the prior; what
        :meth:`finalize` observes does not count. Models for which this does not work may override it.

        Args:
            num_particles: how many.
            ess_threshold: they are resampled when fewer count, as a share of all.
            retries: how often all of them may fail.

        Returns:
            Name of site -> value; at ``auxiliary`` the counts of all compartments.

        Raises:
            SMCFailed: if all particles failed that often.
        """
        found = feasible(self, num_particles, ess_threshold, retries, logger)
        with InShape(found):
            values = self.generate()
        for name, (fn, is_local) in self.latent_series.items():
            if self.is_regional and not is_local:
                values[name] = values[name].unsqueeze(-1 - fn.event_dim)  # the dim of regions
        counts = torch.stack([values[name] for name in self.compartments])
        return values | {AUXILIARY: clamp(counts, min=0.5, max=self.population - 0.5)}

    def _with_series(self, samples: dict[str, Tensor], trace: Trace, duration: int) -> dict[str, Tensor]:
        """Sites ``S_0``, ``S_1`` and so on as one series ``S``; where there is a dim of time, in it."""
        time_dim = -2 if self.is_regional else -1
        out = dict(samples)
        for name in dict.fromkeys((*self.compartments, *sorted(self.series))):
            steps = [key for key in out if re.fullmatch(re.escape(name) + "_[0-9]+", key)]
            if not steps:
                continue
            assert len(steps) == duration, f"site {name!r} has {len(steps)} of {duration} time steps"
            values = broadcast_tensors(*[torch.as_tensor(out.pop(key)) for key in steps])
            dim = time_dim - trace.nodes[f"{name}_0"].fn.event_dim
            out[name] = torch.cat(values, dim) if values[0].dim() >= -dim else torch.stack(values)
        return out


def check_whole(name: str, value: Any, least: int) -> None:
    """That an argument is a whole number, not below ``least``.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is an int, at least {least}, and not {value!r}")


def _guide(model: Any, rank: int | str | None, **options: Any) -> Any:
    if rank == 0:
        return AutoNormal(model, **options)
    if rank == "full":
        return AutoMultivariateNormal(model, **options)
    if rank is None or isinstance(rank, int):
        return AutoLowRankMultivariateNormal(model, rank=rank, **options)
    raise ValueError(f"Invalid guide_rank: {rank!r}; it is 0, a positive int, None or 'full'")
