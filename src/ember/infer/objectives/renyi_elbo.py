"""Bounds on the evidence from several weighted particles."""

from __future__ import annotations

import math

from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO
from ember.infer.terms.bound import BoundTerms
from ember.infer.terms.bound_gradients import BOUND_GRADIENTS, BoundGradient, Reparameterized
from ember.infer.terms.control_variates import (
    BOUND_CONTROL_VARIATES,
    BoundControlVariate,
    NoControlVariate,
)
from ember.infer.terms.entropies import checked
from ember.infer.terms.estimate import Joint
from ember.infer.terms.pairing import SampledPairing, holds_all, holds_nothing
from ember.infer.traces.run import runner_of
from ember.infer.traces.settings import nesting_by_old_name


class RenyiELBO(ELBO):
    r"""Estimates the variational Rényi bound of the log evidence from weighted particles.

    It is ``log(mean(w ** (1 - alpha))) / (1 - alpha)`` of importance weights ``w``. With ``alpha = 0`` it is
    the importance-weighted bound, which grows with the number of particles towards the log evidence. For
    ``alpha >= 0`` it is a lower bound. Plates around all sites have a bound for each row, and the bounds add
    up; subsampling scales the bounds, not the weights. Other plates are summed over within a particle.

    Args:
        alpha: the order, not 1.
        num_particles: how many particles are weighed.
        max_plate_nesting: how many dims from the right belong to plates.
        max_iarange_nesting: deprecated name of ``max_plate_nesting``.
        vectorize_particles: draw all particles in one run.
        strict_enumeration_warning: as for :class:`ELBO`.
        gradient: :class:`~ember.infer.Reparameterized`, or :class:`~ember.infer.DoublyReparameterized`, for
            guides all of whose sites are reparameterised.
        control_variate: for sites that are not. By default, as in Pyro, the gradient of the limit of many
            particles, which is biased for few. :class:`~ember.infer.LeaveOneOut` is the unbiased score
            function of this bound, less for each particle the bound that the others make.

    Raises:
        ValueError: if ``alpha`` is 1, or the estimators do not go together with each other or with the guide.
        NotImplementedError: for sites of the guide that are reparameterised in part.

    References:
        Y. Li, R. Turner (2016), "Rényi Divergence Variational Inference".
        Y. Burda, R. Grosse, R. Salakhutdinov (2016), "Importance Weighted Autoencoders".
        A. Mnih, D. Rezende (2016), "Variational Inference for Monte Carlo Objectives".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     z = ember.sample("z", dist.Normal(0.0, 1.0))
    ...     ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))
    >>> def guide():
    ...     ember.sample("z", dist.Normal(0.5, 0.8))  # the posterior has the sd 0.71
    >>> loss = ember.infer.RenyiELBO(num_particles=1000, vectorize_particles=True).loss(model, guide)
    >>> round(loss, 1)  # -log p(x) = 1.52
    1.5
    """

    def __init__(
        self,
        alpha: float = 0,
        num_particles: int = 2,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        *,
        gradient: BoundGradient = Reparameterized(),  # noqa: B008
        control_variate: BoundControlVariate = NoControlVariate(),  # noqa: B008
    ) -> None:
        if alpha == 1:
            raise ValueError(
                "The order alpha should not be equal to 1. Please use Trace_ELBO class for the case alpha = 1."
            )
        self.alpha = alpha
        self.gradient = checked(gradient, "gradient", BOUND_GRADIENTS)
        self.control_variate = checked(control_variate, "control_variate", BOUND_CONTROL_VARIATES)
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=nesting_by_old_name(max_plate_nesting, max_iarange_nesting, stacklevel=2),
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
        )
        control_variate.check_particles(num_particles)
        if control_variate.compares_particles and not gradient.has_scores:
            raise ValueError(
                f"{gradient} has no score functions for {control_variate} to act on: choose one of them"
            )

    def composition(self) -> Composition:
        terms = BoundTerms(self.alpha, self.gradient, self.control_variate)
        holds = holds_all if self.gradient.holds_samples else holds_nothing
        return Composition(
            runner_of(self.settings),
            terms,
            SampledPairing(holds_guide=holds, holds_model=holds),
            Joint(terms.joint),
        )
