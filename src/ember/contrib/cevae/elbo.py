"""The ELBO, and the log densities of what a guide observes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ember.infer import Estimate, Trace_ELBO
from ember.poutine.trace_struct import Trace


@dataclass(eq=False, repr=False)
class TraceCausalEffect_ELBO(Trace_ELBO):
    """``ELBO + log q(t | x) + log q(y | t, x)``, to be maximised; equation 9 of Louizos and others (2017).

    In general: sites that the guide observes take no part in the ELBO, and their log densities are added, so
    that the guide learns to predict them. Arguments are those of :class:`~ember.infer.Trace_ELBO`.
    """

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        """What one pair of traces is worth."""
        observed = [
            name
            for name, site in guide_trace.nodes.items()
            if site["type"] == "sample" and site["is_observed"]
        ]
        rest = guide_trace.copy()
        learned: Any = 0.0
        for name in observed:
            learned = learned + guide_trace.nodes[name]["log_prob_sum"]
            rest.remove_node(name)
        elbo, surrogate = super().particle(model_trace, rest)
        value = learned.detach() if observed else 0.0
        return Estimate(elbo + value, surrogate + learned)
