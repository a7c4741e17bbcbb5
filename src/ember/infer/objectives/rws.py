"""Reweighted wake-sleep: one loss for the model, another for the guide."""

from __future__ import annotations

import math
from typing import ClassVar

from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO
from ember.infer.objectives.wake_sleep import WakeSleep, WakeTerms
from ember.infer.terms.fixed_samples import DetachSamples
from ember.infer.terms.pairing import SampledPairing
from ember.infer.traces.run import runner_of


class ReweightedWakeSleep(ELBO):
    """Computes two losses: the importance-weighted bound for the model, and cross entropies for the guide.

    The guide learns from samples of its own, weighed by the model (wake), from samples of the model (sleep),
    or from both. Samples are held fixed, so that discrete sites are as good as any. For the sleep phase, the
    guide takes its observations from the keyword argument ``observations``, a dict by site. Mini-batches are
    not supported.

    Args:
        num_particles: how many samples of the guide; two or more.
        insomnia: the weight of the wake phase in the guide's loss, the sleep phase having the rest.
        model_has_params: whether the model learns; if not, and ``insomnia`` is 0, the guide is not sampled.
        num_sleep_particles: how many samples of the model; as many as ``num_particles`` by default.
        vectorize_particles: draw all particles in one run.
        max_plate_nesting: how many dims from the right belong to plates.
        strict_enumeration_warning: as for :class:`ELBO`.

    Losses are pairs: of the model and of the guide.

    Raises:
        AssertionError: if ``num_particles`` is less than 2 or ``insomnia`` outside [0, 1].

    References:
        J. Bornschein, Y. Bengio (2015), "Reweighted Wake-Sleep".
        T. A. Le, A. Kosiorek, N. Siddharth, Y. W. Teh, F. Wood (2019), "Revisiting Reweighted Wake-Sleep for
        Models with Stochastic Control Flow".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     k = ember.sample("k", dist.Bernoulli(0.3))
    ...     ember.sample("x", dist.Normal(4.0 * k, 1.0), obs=torch.tensor(4.0))
    >>> def guide():
    ...     ember.sample("k", dist.Bernoulli(logits=ember.param("logits", torch.tensor(0.0))))
    >>> objective = ember.infer.ReweightedWakeSleep(num_particles=10)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.1}), objective)
    >>> of_model, of_guide = svi.step()
    """

    uncalled_hooks: ClassVar[tuple[str, ...]] = (
        *ELBO.uncalled_hooks,
        "_loss",
        "_get_matched_trace",
        "_vectorized_num_sleep_particles",
    )

    def __init__(
        self,
        num_particles: int = 2,
        insomnia: float = 1.0,
        model_has_params: bool = True,
        num_sleep_particles: int | None = None,
        vectorize_particles: bool = True,
        max_plate_nesting: float = math.inf,
        strict_enumeration_warning: bool = True,
    ) -> None:
        assert num_particles > 1, "Reweighted Wake Sleep needs to be run with more than one particle"
        assert 0 <= insomnia <= 1, "insomnia should be in [0, 1]"
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
        )
        self.insomnia = insomnia
        self.model_has_params = model_has_params
        self.num_sleep_particles = num_particles if num_sleep_particles is None else num_sleep_particles

    def composition(self) -> Composition:
        return Composition(
            runner_of(self.settings),
            WakeTerms(),
            SampledPairing(around=DetachSamples),
            WakeSleep(self.insomnia, self.model_has_params, self.num_sleep_particles),
        )
