"""The ELBO with divergences in closed form where they are known."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ember.infer.objectives.elbo import Estimate, Program
from ember.infer.objectives.joint_elbo import Traces
from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.infer.terms.estimators import (
    AnalyticKL,
    ControlVariate,
    Entropy,
    NoControlVariate,
    check_fully_reparametrized,
)
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.trace_struct import Trace


def _check_mean_field_requirement(model_trace: Trace, guide_trace: Trace) -> None:
    """Warn if the shared sites of model and guide come in different orders: a check that is sufficient, not necessary."""

    def shared(one: Trace, other: Trace) -> list[str]:
        return [name for name, site in one.nodes.items() if site["type"] == "sample" and name in other]

    model_sites, guide_sites = shared(model_trace, guide_trace), shared(guide_trace, model_trace)
    if model_sites != guide_sites:
        warnings.warn(
            "Failed to verify mean field restriction on the guide. "
            "To eliminate this warning, ensure model and guide sites occur in the same order.\n"
            "Model sites:\n  " + "\n  ".join(model_sites) + "Guide sites:\n  " + "\n  ".join(guide_sites),
            stacklevel=2,
        )


class TraceMeanField_ELBO(Trace_ELBO):
    """The ELBO with the divergence of each site in closed form where one is registered, and sampled elsewhere.

    All sites of the guide must be fully reparameterised. The result is right if the parents that a latent has in the model do not
    depend on it in the guide: so for mean-field guides, and where model and guide have the same dependencies. Divergences are
    scaled and masked as the site of the guide is. Arguments are those of :class:`Trace_ELBO`.

    Raises:
        NotImplementedError: if a site of the guide is not fully reparameterised.

    >>> import torch, ember
    >>> from ember.distributions import Normal
    >>> def model():
    ...     ember.sample("z", Normal(0.0, 1.0))
    >>> def guide():
    ...     ember.sample("z", Normal(1.0, 1.0))
    >>> TraceMeanField_ELBO().loss(model, guide)
    0.5
    """

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        ignore_jit_warnings: bool = False,
        jit_options: dict[str, Any] | None = None,
        retain_graph: bool | None = None,
        tail_adaptive_beta: float = -1.0,
        *,
        entropy: Entropy = AnalyticKL(),  # noqa: B008
        control_variate: ControlVariate = NoControlVariate(),  # noqa: B008
    ) -> None:
        super().__init__(
            num_particles,
            max_plate_nesting,
            max_iarange_nesting,
            vectorize_particles,
            strict_enumeration_warning,
            ignore_jit_warnings,
            jit_options,
            retain_graph,
            tail_adaptive_beta,
            entropy=entropy,
            control_variate=control_variate,
        )
        if not isinstance(control_variate, NoControlVariate):
            raise ValueError(
                f"TraceMeanField_ELBO has no score functions for {control_variate} to act on: use Trace_ELBO"
            )

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        if is_validation_enabled():
            for site in guide_trace.nodes.values():
                if site["type"] == "sample":
                    check_fully_reparametrized(site)
        return super().particle(model_trace, guide_trace)

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traces:
        traces = super()._get_trace(model, guide, args, kwargs)
        if is_validation_enabled():
            _check_mean_field_requirement(*traces)
        return traces
