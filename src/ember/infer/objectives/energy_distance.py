"""The energy distance between data and the posterior predictive: inference without a density of the likelihood."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
from torch import Tensor

from ember import poutine
from ember.distributions.masking import scale_and_mask
from ember.infer.objectives.elbo import Program
from ember.infer.traces.broadcasting import check_broadcasting
from ember.infer.traces.checks import check_model_guide_match, check_site_shape
from ember.infer.traces.importance_trace import Sites
from ember.infer.traces.plate_nesting import facts_of, max_plate_nesting_of
from ember.infer.traces.plates import PARTICLE_PLATE
from ember.infer.traces.run import Run
from ember.infer.traces.settings import Settings
from ember.infer.traces.validate_all import unchecked
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.primitives import plate


class EnergyDistance:
    r"""Computes the energy distance of predictions from data, as a loss for :class:`SVI`.

    The loss is ``E|X - x|**beta - E|X - X'|**beta / 2 - prior_scale * E log p(Z)`` for data x and predictions
    X, X'. Given to :class:`SVI` as its loss, it fits models whose likelihood can be sampled only: log
    densities of observed sites and of the guide are never computed. Guide and likelihood must be
    reparameterised; the model's latents need not be.

    Args:
        beta: the exponent, between 0 and 2. Predictions must have a finite moment of this order: heavy tails
            ask for a small one.
        prior_scale: the weight of the prior. If it is 0, log densities are not computed at all.
        num_particles: how many predictions; two or more.
        max_plate_nesting: how many dims from the right belong to plates; found by a run if infinite.

    Raises:
        ValueError: for arguments outside their ranges, without observations, or for sites that are not
            reparameterised.

    References:
        G. Székely, M. Rizzo (2003), "Energy Statistics: A Class of Statistics Based on Distances".
        T. Gneiting, A. Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and Estimation".

    >>> import torch, ember
    >>> from ember.distributions import Normal
    >>> from ember.infer import EnergyDistance
    >>> def model(x):
    ...     ember.sample("x", Normal(ember.sample("z", Normal(0.0, 1.0)), 1.0), obs=x)
    >>> def guide(x):
    ...     ember.sample("z", Normal(1.0, 1.0))
    >>> EnergyDistance(num_particles=100)(model, guide, torch.tensor(1.0)).item() > 0
    True
    """

    def __init__(
        self,
        beta: float = 1.0,
        prior_scale: float = 0.0,
        num_particles: int = 2,
        max_plate_nesting: float = math.inf,
    ) -> None:
        if not (isinstance(beta, (float, int)) and 0 < beta < 2):
            raise ValueError(f"Expected beta in (0,2), actual {beta}")
        if not (isinstance(prior_scale, (float, int)) and prior_scale >= 0):
            raise ValueError(f"Expected prior_scale >= 0, actual {prior_scale}")
        if not (isinstance(num_particles, int) and num_particles >= 2):
            raise ValueError(f"Expected num_particles >= 2, actual {num_particles}")
        self.beta = beta
        self.prior_scale = prior_scale
        self.num_particles = num_particles
        self.vectorize_particles = True
        self.max_plate_nesting = max_plate_nesting

    def __call__(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """The loss as a scalar to differentiate."""
        _, model_trace = self._get_traces(model, guide, args, kwargs)
        observed = [site for site in _samples(model_trace) if site.is_observed]
        if not observed:
            raise ValueError("Found no observations")
        error: Any = 0.0
        spread: Any = 0.0
        for site in observed:
            predictions, data, scale, mask = _flattened(site, self.num_particles)
            error = error + _squared_distance(predictions, data, scale, mask)
            spread = spread + _squared_distance(predictions[:, None], predictions, scale, mask)
        # Of all ordered pairs, those of a particle with itself are 0 and do not count.
        num_pairs = self.num_particles * (self.num_particles - 1)
        loss: Tensor = self._pow(error).mean() - 0.5 * self._pow(spread).sum() / num_pairs
        if self.prior_scale > 0:
            for site in _samples(model_trace):
                if not site.is_observed:
                    loss = loss - self.prior_scale * site.log_prob_sum / self.num_particles
        return loss

    def loss(self, *args: object, **kwargs: object) -> NoReturn:
        """Not implemented: the object itself is the loss."""
        raise NotImplementedError("EnergyDistance implements only surrogate loss")

    def _pow(self, squared: Tensor) -> Tensor:
        # Where the distance is 0 (all is masked, say), its power is not differentiable: the gradient is taken to be 0.
        positive = squared > 0
        safe = torch.where(positive, squared, 1.0)
        power = safe.sqrt() if self.beta == 1 else safe.pow(self.beta / 2)
        return torch.where(positive, power, 0.0)

    def _check_broadcasting(
        self,
        recorded: tuple[Trace, Trace],
        nesting: float,
        called: tuple[Program, Program, tuple[Any, ...], dict[str, Any]],
    ) -> None:
        """See whether model and guide mix particles up, before predictions are taken for observations."""
        model, guide, args, kwargs = called
        facts = facts_of(self, model, guide)
        one = Run(poutine.uncondition(model), guide, args, kwargs, nesting, facts)
        settings = Settings(num_particles=self.num_particles, vectorize_particles=True)
        (model_trace, model_plates), (guide_trace, guide_plates) = map(_apart, recorded)
        check_broadcasting(
            one.in_particle_plate(settings), (model_trace, guide_trace), (model_plates, guide_plates)
        )

    def _get_traces(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """The guide's trace, and the model's with predictions at the observed sites."""
        nesting = self.max_plate_nesting
        if nesting == math.inf:
            # Without the checks, which compute log densities.
            with unchecked():
                nesting = max_plate_nesting_of(self, model, guide, args, kwargs)
            nesting += 1
        particles = plate(PARTICLE_PLATE, self.num_particles, dim=-int(nesting))
        with poutine.trace() as recorded_guide, particles:
            guide(*args, **kwargs)
        replayed = poutine.replay(trace=recorded_guide.trace)
        with poutine.trace() as recorded_model, poutine.uncondition(), replayed, particles:
            model(*args, **kwargs)
        recorded = recorded_model.trace, recorded_guide.trace
        self._check_broadcasting(recorded, nesting, (model, guide, args, kwargs))
        for site in _samples(recorded_model.trace):
            if site.was_observed:
                site.is_observed = True
        if is_validation_enabled():
            check_model_guide_match(recorded_model.trace, recorded_guide.trace, nesting)
        guide_trace = prune_subsample_sites(recorded_guide.trace)
        model_trace = prune_subsample_sites(recorded_model.trace)
        if is_validation_enabled():
            _check_reparameterized(guide_trace, model_trace)
        if self.prior_scale > 0:
            model_trace.add_log_probs(lambda name, site: not site.is_observed)
            if is_validation_enabled():
                for site in _samples(model_trace):
                    if not site.is_observed:
                        check_site_shape(site, nesting)
        return guide_trace, model_trace


def _apart(recorded: Trace) -> tuple[Trace, Sites]:
    """The trace without the hidden sites of plates, and these."""
    return prune_subsample_sites(recorded), {
        site.name: site for site in _samples(recorded) if site.is_subsample
    }


def _check_reparameterized(guide_trace: Trace, model_trace: Trace) -> None:
    for site in _samples(guide_trace):
        if not getattr(site.fn, "has_rsample", False):
            raise ValueError(f"EnergyDistance requires fully reparametrized guides (at site {site.name!r})")
    for site in _samples(model_trace):
        if site.is_observed and not getattr(site.fn, "has_rsample", False):
            raise ValueError(f"EnergyDistance requires reparametrized likelihoods (at site {site.name!r})")


def _flattened(site: Site, num_particles: int) -> tuple[Tensor, Tensor, Any, Any]:
    """Predictions ``(particles, batch, event)``, data ``(batch, event)``, scale and mask (scalars or ``(batch,)``)."""
    data, event_dim = site.observation, site.fn.event_dim
    batch_shape = data.shape[: data.dim() - event_dim]
    event_shape = data.shape[data.dim() - event_dim :]
    scale, mask = (
        value.expand(batch_shape).reshape(-1) if isinstance(value, Tensor) and value.dim() else value
        for value in (site.scale, site.mask)
    )
    shape = (batch_shape.numel(), event_shape.numel())
    return site.value.reshape((num_particles, *shape)), data.reshape(shape), scale, mask


def _squared_distance(x: Tensor, y: Tensor, scale: Any, mask: Any) -> Tensor:
    """The sum over rows, by particle or pair of particles."""
    rows = (x - y).square().sum(-1)
    return scale_and_mask(rows, scale, mask).sum(-1)  # type: ignore[no-any-return]


def _samples(trace: Trace) -> list[Site]:
    return [site for site in trace.nodes.values() if site.type == "sample"]
