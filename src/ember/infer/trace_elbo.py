"""The ELBO with pathwise and score-function gradients, Rao-Blackwellised along plates."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.elbo import ELBO, Estimate
from ember.infer.plates import MultiFrameTensor, get_plate_stacks
from ember.infer.scalars import total
from ember.poutine.trace_struct import Trace


def _compute_log_r(model_trace: Trace, guide_trace: Trace) -> MultiFrameTensor:
    """log p(x, z) - log q(z), detached, by the plates of the sites."""
    log_r = MultiFrameTensor()
    stacks = get_plate_stacks(model_trace)
    for name, model_site in model_trace.nodes.items():
        if model_site["type"] == "sample":
            term = model_site["log_prob"]
            if not model_site["is_observed"] and name in guide_trace:
                term = term - guide_trace.nodes[name]["log_prob"]
            log_r.add((stacks[name], term.detach()))
    return log_r


class Trace_ELBO(ELBO):
    """The ELBO estimated from log densities at samples of the guide; no demands on the structure of model and guide.

    Sites that are reparameterised get pathwise gradients. The others get score-function gradients, in which each site is weighed
    with the terms that share its plates only: plates mark what is independent (Ranganath, Gerrish and Blei, 2014, section 3).
    """

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        log_p = total(_log_prob_sums(model_trace))
        elbo = log_p - total(_log_prob_sums(guide_trace))
        guide_terms: list[Any] = []
        log_r: MultiFrameTensor | None = None
        pathwise = True
        for site in guide_trace.nodes.values():
            if site["type"] != "sample":
                continue
            log_prob, score_function, entropy_term = site["score_parts"]
            pathwise = pathwise and entropy_term is log_prob and is_identically_zero(score_function)
            if not is_identically_zero(entropy_term):
                guide_terms.append(site["log_prob_sum"] if entropy_term is log_prob else entropy_term.sum())
            if not is_identically_zero(score_function):
                if log_r is None:
                    log_r = _compute_log_r(model_trace, guide_trace)
                weight = log_r.sum_to(site["cond_indep_stack"])
                guide_terms.append(-(weight * score_function).sum())
        return Estimate(elbo, elbo) if pathwise else Estimate(_detached(elbo), log_p - total(guide_terms))


def _log_prob_sums(trace: Trace) -> list[Any]:
    return [site["log_prob_sum"] for site in trace.nodes.values() if site["type"] == "sample"]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
