"""The ELBO with pathwise and score-function gradients, Rao-Blackwellised along plates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ember.infer.objectives import hooks
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO
from ember.infer.terms.control_variates import CONTROL_VARIATES, ControlVariate, NoControlVariate
from ember.infer.terms.entropies import ENTROPIES, Entropy, FullScore, checked, entropy_of
from ember.infer.terms.pairing import Check, SampledPairing, check_not_enumerated
from ember.infer.terms.sampled import EntropyTerms, SampledTerms
from ember.infer.terms.sampled import compute_log_r as _compute_log_r  # noqa: F401  # Pyro's name
from ember.infer.traces.run import runner_of
from ember.poutine.trace_struct import Trace


@dataclass(eq=False, repr=False)
class Trace_ELBO(ELBO):
    """Estimates the ELBO from log densities at samples of the guide, for any model and guide.

    Sites that are reparameterised get pathwise gradients. The others get score-function gradients, in which
    each site is weighed with the terms that share its plates only: plates mark what is independent
    (Ranganath, Gerrish and Blei, 2014, section 3).

    Args:
        entropy: how the guide's entropy is estimated where no site says otherwise:
            :class:`~ember.infer.FullScore`, :class:`~ember.infer.StickingTheLanding` or
            :class:`~ember.infer.AnalyticKL`. A site of the guide says so by ``infer={"entropy": ...}``.
        control_variate: what is taken away from costs: :class:`~ember.infer.NoControlVariate`,
            :class:`~ember.infer.LeaveOneOut` or :class:`~ember.infer.VarGrad`.

    The other arguments are those of :class:`ELBO`.

    Raises:
        ValueError: if ``control_variate`` compares particles and there is only one, or a site asks for an
            estimator that is not possible there.
    """

    entropy: Entropy = field(default=FullScore(), kw_only=True)
    control_variate: ControlVariate = field(default=NoControlVariate(), kw_only=True)

    checks: ClassVar[tuple[Check, ...]] = (check_not_enumerated,)
    """What is looked at in each pair of traces."""
    terms: ClassVar[type[EntropyTerms]] = SampledTerms
    """What a pair of traces is worth."""

    def __post_init__(self, max_iarange_nesting: float | None) -> None:
        super().__post_init__(max_iarange_nesting)
        checked(self.entropy, "entropy", ENTROPIES)
        checked(self.control_variate, "control_variate", CONTROL_VARIATES)
        self.control_variate.check_particles(self.num_particles)
        self.control_variate.check_entropy(self.entropy)
        if self.control_variate.compares_particles:
            hooks.check_own_worth(type(self), str(self.control_variate))

    def composition(self) -> Composition:
        return Composition(
            runner_of(self.settings),
            self.terms(self.entropy),
            SampledPairing(
                around=self.control_variate.around_guide, holds_guide=self._holds_samples, checks=self.checks
            ),
            self.control_variate.combination(SampledTerms(self.entropy)),
        )

    def _holds_samples(self, guide_trace: Trace) -> bool:
        """Whether a site of the guide needs its log density with the samples held fixed."""
        sites = (site for site in guide_trace.nodes.values() if site.type == "sample")
        return any(entropy_of(site, self.entropy).holds_samples for site in sites)
