"""The ELBO whose score functions are weighed with those terms only that depend on the sample, and less a baseline."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.objectives import hooks
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO
from ember.infer.terms.baselines import apply_baseline
from ember.infer.terms.downstream_costs import compute_downstream_costs
from ember.infer.terms.estimate import Estimate, Terms
from ember.infer.terms.pairing import SampledPairing
from ember.infer.traces.plates import MultiFrameTensor
from ember.infer.traces.run import runner_of
from ember.infer.traces.settings import Settings
from ember.ops.provenance import Watch, detach_provenance, get_provenance, track_provenance
from ember.ops.scalars import total
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace

# Pyro's name for it, which programs read.
_compute_downstream_costs = compute_downstream_costs


class TrackNonReparam(Messenger):
    """Marks samples that have no pathwise derivative with the names of their sites, to see later what depends on them.

    >>> import torch, ember
    >>> from ember.distributions import Categorical
    >>> def model():
    ...     a = ember.sample("a", Categorical(torch.tensor([0.3, 0.7])))
    ...     ember.sample("b", Categorical(torch.tensor([[0.1, 0.9], [0.8, 0.2]])[a]), obs=torch.tensor(0))
    >>> with TrackNonReparam():
    ...     trace = ember.poutine.trace(model).get_trace()
    >>> trace.compute_log_prob()
    >>> get_provenance(trace.nodes["b"]["log_prob"])
    frozenset({'a'})
    """

    def __init__(self) -> None:
        super().__init__()
        self._watch = Watch()

    def __enter__(self) -> Self:
        super().__enter__()
        self._watch = Watch()
        self._watch.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.__exit__(exc_type, exc_value, traceback)
        super().__exit__(exc_type, exc_value, traceback)

    def _pyro_post_sample(self, msg: Site) -> None:
        if self._watch.lost and not site_is_subsample(msg):
            # Whether and how this statement was reached may depend on samples that Python has looked at.
            msg["untracked_provenance"] = self._watch.lost
        if (
            msg.type == "sample"
            and not msg.is_observed
            and not getattr(msg.fn, "has_rsample", False)
            and not site_is_subsample(msg)
        ):
            msg.value = track_provenance(msg.value, frozenset({msg.name}))


@dataclass(frozen=True)
class GraphTerms(Terms):
    """The ELBO with score functions that are weighed with downstream costs, less baselines."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        elbo = _elbo(model_trace, guide_trace)
        if not torch.is_grad_enabled():
            # Nothing is trained, so averages of costs must stay as they are.
            return Estimate(elbo, elbo)
        surrogate = [site.log_prob_sum for site in _samples(model_trace)]
        scores: dict[str, Site] = {}
        pathwise = True
        for site in _samples(guide_trace):
            log_prob, score_function, entropy_term = site.score_parts
            pathwise = pathwise and entropy_term is log_prob
            if not is_identically_zero(entropy_term):
                surrogate.append(-entropy_term.sum())
            if not is_identically_zero(score_function):
                scores[site.name] = site
        if pathwise and not scores:
            return Estimate(elbo, elbo)
        surrogate += _score_terms(scores, _downstream_costs(model_trace, guide_trace), elbo)
        return Estimate(_plain(elbo).detach(), _plain(total(surrogate)))


def _elbo(model_trace: Trace, guide_trace: Trace) -> Any:
    log_p, log_q = (
        total([site.log_prob_sum for site in _samples(trace)]) for trace in (model_trace, guide_trace)
    )
    return _plain(log_p - log_q)


class TraceGraph_ELBO(ELBO):
    """Estimates the ELBO with score functions that are weighed with downstream costs only, less baselines.

    What is downstream of a sample is found by following it through the computation (see
    :mod:`ember.ops.provenance`). Once a sample is turned into a Python number, as in ``if z.item() > 0``, all
    statements after that count as downstream.

    A site of the guide has a baseline by ``infer={"baseline": {...}}`` with the options of
    :class:`ember.infer.terms.baselines.Baseline`. The loss that fits it is part of what is differentiated, so
    that the same optimizer trains it. Arguments are those of :class:`ELBO`.

    References:
        J. Schulman, N. Heess, T. Weber, P. Abbeel (2015), "Gradient Estimation Using Stochastic Computation
        Graphs".
        A. Mnih, K. Gregor (2014), "Neural Variational Inference and Learning in Belief Networks".
        D. Wingate, N. Goodman, A. Stuhlmüller, J. Siskind (2011), "Nonstandard Interpretations of
        Probabilistic Programs for Efficient Inference".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     k = ember.sample("k", dist.Bernoulli(0.3))
    ...     ember.sample("x", dist.Normal(4.0 * k, 1.0), obs=torch.tensor(4.0))
    >>> def guide():
    ...     probs = ember.param("probs", torch.tensor(0.5), dist.constraints.unit_interval)
    ...     ember.sample("k", dist.Bernoulli(probs), infer={"baseline": {"use_decaying_avg_baseline": True}})
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.05}), ember.infer.TraceGraph_ELBO())
    >>> losses = [svi.step() for _ in range(200)]
    >>> ember.param("probs").item() > 0.9
    True
    """

    uncalled_hooks: ClassVar[tuple[str, ...]] = (*ELBO.uncalled_hooks, "_loss_and_surrogate_loss")

    def composition(self) -> Composition:
        return Composition(
            runner_of(self.settings), GraphTerms(), SampledPairing(graph_type="dense", around=TrackNonReparam)
        )

    @hooks.own
    def _loss_and_surrogate_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[Any, Any]:
        """The ELBO of a pair of traces, and the loss that is differentiated in its place."""
        elbo, surrogate = self.particle(model_trace, guide_trace)
        return elbo, -surrogate


def _downstream_costs(model_trace: Trace, guide_trace: Trace) -> dict[str, MultiFrameTensor]:
    """The terms of the ELBO that depend on each sample without a pathwise derivative, by plates."""
    costs: dict[str, MultiFrameTensor] = defaultdict(MultiFrameTensor)
    for trace, sign in ((model_trace, 1), (guide_trace, -1)):
        for site in _samples(trace):
            untracked = site.get("untracked_provenance", frozenset())
            for source in get_provenance(site.log_prob_sum) | untracked:
                term = site.log_prob.detach()
                costs[source].add((site.cond_indep_stack, _plain(term if sign > 0 else -term)))
    return costs


def _score_terms(scores: dict[str, Site], costs: dict[str, MultiFrameTensor], elbo: Any) -> list[Any]:
    healthy = torch.isfinite(elbo.detach())
    terms: list[Any] = []
    for name, site in scores.items():
        cost = costs[name].sum_to(site.cond_indep_stack) if name in costs else 0.0
        if not isinstance(cost, Tensor):
            continue
        cost, fit = apply_baseline(name, site, cost, healthy)
        terms.append((_plain(site.score_parts.score_function) * cost.detach()).sum())
        if isinstance(fit, Tensor):
            terms.append(-fit)
    return terms


def _samples(trace: Trace) -> list[Site]:
    return [site for site in trace.nodes.values() if site.type == "sample"]


def _plain(value: Any) -> Any:
    return detach_provenance(value)
