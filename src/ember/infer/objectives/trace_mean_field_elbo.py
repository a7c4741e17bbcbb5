"""The ELBO with divergences in closed form where they are known."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import ClassVar

from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.infer.terms.entropies import AnalyticKL, Entropy
from ember.infer.terms.pairing import Check, check_not_enumerated
from ember.infer.terms.reparameterized import check_guide_reparametrized
from ember.poutine.trace_struct import Trace


def _check_mean_field_requirement(model_trace: Trace, guide_trace: Trace) -> None:
    """Warn if the shared sites of model and guide come in different orders: a check that is sufficient, not necessary."""

    def shared(one: Trace, other: Trace) -> list[str]:
        return [name for name, site in one.nodes.items() if site.type == "sample" and name in other]

    model_sites, guide_sites = shared(model_trace, guide_trace), shared(guide_trace, model_trace)
    if model_sites != guide_sites:
        warnings.warn(
            "Failed to verify mean field restriction on the guide. "
            "To eliminate this warning, ensure model and guide sites occur in the same order.\n"
            "Model sites:\n  " + "\n  ".join(model_sites) + "Guide sites:\n  " + "\n  ".join(guide_sites),
            stacklevel=2,
        )


@dataclass(eq=False, repr=False)
class TraceMeanField_ELBO(Trace_ELBO):
    """Estimates the ELBO with divergences in closed form where one is known, and sampled elsewhere.

    All sites of the guide must be fully reparameterised. The result is right if the parents that a latent has
    in the model do not depend on it in the guide: so for mean-field guides, and where model and guide have
    the same dependencies. Divergences are scaled and masked as the site of the guide is. Arguments are those
    of :class:`Trace_ELBO`.

    Raises:
        NotImplementedError: if a site of the guide is not fully reparameterised.

    >>> import torch, ember
    >>> from ember.distributions import Normal
    >>> from ember.infer import TraceMeanField_ELBO
    >>> def model():
    ...     ember.sample("z", Normal(0.0, 1.0))
    >>> def guide():
    ...     ember.sample("z", Normal(1.0, 1.0))
    >>> TraceMeanField_ELBO().loss(model, guide)
    0.5
    """

    entropy: Entropy = field(default=AnalyticKL(), kw_only=True)

    checks: ClassVar[tuple[Check, ...]] = (
        check_not_enumerated,
        _check_mean_field_requirement,
        check_guide_reparametrized,
    )
    loss_is_differentiated: ClassVar[bool] = True

    def __post_init__(self, max_iarange_nesting: float | None) -> None:
        super().__post_init__(max_iarange_nesting)
        if self.control_variate.compares_particles:
            raise ValueError(
                f"TraceMeanField_ELBO has no score functions for {self.control_variate} to act on: use Trace_ELBO"
            )
