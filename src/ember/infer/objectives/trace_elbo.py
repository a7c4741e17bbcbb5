"""The ELBO with pathwise and score-function gradients, Rao-Blackwellised along plates."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.objectives.elbo import ELBO, Estimate, Program
from ember.infer.objectives.joint_elbo import Traces
from ember.infer.terms import estimators
from ember.infer.terms.analytic_kl import analytic_kl
from ember.infer.terms.estimators import (
    AnalyticKL,
    ControlVariate,
    Entropy,
    FullScore,
    LeaveOneOut,
    NoControlVariate,
    StickingTheLanding,
    VarGrad,
)
from ember.infer.terms.fixed_samples import DetachSamples, with_fixed_samples
from ember.infer.traces.checks import check_if_enumerated
from ember.infer.traces.importance_trace import Sites, get_importance_trace
from ember.infer.traces.plates import MultiFrameTensor, get_plate_stacks, particle_dim
from ember.infer.traces.validation import is_validation_enabled
from ember.ops.scalars import total
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def _compute_log_r(
    model_trace: Trace, guide_trace: Trace, divergences: dict[str, Tensor] | None = None
) -> MultiFrameTensor:
    """log p(x, z) - log q(z), detached, by the plates of the sites; minus the divergence at sites that have one."""
    log_r = MultiFrameTensor()
    stacks = get_plate_stacks(model_trace)
    for name, model_site in model_trace.nodes.items():
        if model_site["type"] == "sample":
            if divergences and name in divergences:
                term = -divergences[name]
            else:
                term = model_site["log_prob"]
                if not model_site["is_observed"] and name in guide_trace:
                    term = term - guide_trace.nodes[name]["log_prob"]
            log_r.add((stacks[name], term.detach()))
    return log_r


class _Parts(NamedTuple):
    """What a pair of traces contributes: the ELBO, terms to differentiate as they are, and score functions with their costs."""

    elbo: Any
    surrogate: Any
    scores: dict[str, tuple[Any, Any]]
    sites: dict[str, Site]


class Trace_ELBO(ELBO):
    """The ELBO estimated from log densities at samples of the guide; no demands on the structure of model and guide.

    Sites that are reparameterised get pathwise gradients. The others get score-function gradients, in which each site is weighed
    with the terms that share its plates only: plates mark what is independent (Ranganath, Gerrish and Blei, 2014, section 3).

    Args:
        entropy: how the guide's entropy is estimated where no site says otherwise: :class:`~ember.infer.FullScore`,
            :class:`~ember.infer.StickingTheLanding` or :class:`~ember.infer.AnalyticKL`. A site of the guide says so by
            ``infer={"entropy": ...}``.
        control_variate: what is taken away from costs: :class:`~ember.infer.NoControlVariate`,
            :class:`~ember.infer.LeaveOneOut` or :class:`~ember.infer.VarGrad`.

    The other arguments are those of :class:`ELBO`.

    Raises:
        ValueError: if ``control_variate`` compares particles and there is only one, or a site asks for an estimator that is not
            possible there.
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
        entropy: Entropy = FullScore(),  # noqa: B008
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
        )
        self.entropy: Entropy = estimators.checked(entropy, "entropy", estimators.ENTROPIES)
        self.control_variate: ControlVariate = estimators.checked(
            control_variate, "control_variate", (NoControlVariate, LeaveOneOut, VarGrad)
        )
        if not isinstance(control_variate, NoControlVariate) and num_particles < 2:
            raise ValueError(f"{control_variate} compares particles: give num_particles=2 or more, got 1")
        if isinstance(control_variate, VarGrad) and not isinstance(entropy, FullScore):
            raise ValueError(f"VarGrad() has no entropy term to estimate by {entropy}: leave entropy out")

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        elbo, surrogate, scores, _ = self._parts(model_trace, guide_trace)
        if elbo is surrogate and not scores:
            return Estimate(elbo, elbo)
        terms = [(weight * score).sum() for weight, score in scores.values()]
        return Estimate(_detached(elbo), surrogate + total(terms))

    def _parts(self, model_trace: Trace, guide_trace: Trace) -> _Parts:
        divergences = self._divergences(model_trace, guide_trace)
        log_p = total(_log_prob_sums(model_trace, divergences))
        if divergences:
            log_p = log_p - total([kl.sum() for kl in divergences.values()])
        elbo = log_p - total(_log_prob_sums(guide_trace, divergences))
        guide_terms: list[Any] = []
        score_sites: dict[str, Site] = {}
        pathwise = True
        for name, site in guide_trace.nodes.items():
            if site["type"] != "sample":
                continue
            log_prob, score_function, entropy_term = site["score_parts"]
            pathwise = pathwise and entropy_term is log_prob and is_identically_zero(score_function)
            if not is_identically_zero(score_function):
                score_sites[name] = site
            if name not in divergences and not is_identically_zero(entropy_term):
                guide_terms.append(site["log_prob_sum"] if entropy_term is log_prob else entropy_term.sum())
            if isinstance(self._entropy_of(site), StickingTheLanding):
                pathwise = False
                guide_terms.append(-site["fixed_log_prob"].sum())
        if pathwise:
            return _Parts(elbo, elbo, {}, {})
        scores: dict[str, tuple[Any, Any]] = {}
        if score_sites:
            log_r = _compute_log_r(model_trace, guide_trace, divergences)
            for name, site in score_sites.items():
                scores[name] = (log_r.sum_to(site["cond_indep_stack"]), site["score_parts"].score_function)
        return _Parts(elbo, log_p - total(guide_terms), scores, score_sites)

    def _divergences(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Divergences in closed form, by site."""
        found = {}
        for name, site in guide_trace.nodes.items():
            if site["type"] == "sample" and isinstance(self._entropy_of(site), AnalyticKL):
                kl = _divergence(name, model_trace, site)
                if kl is not None:
                    found[name] = kl
        return found

    def _entropy_of(self, site: Site) -> Entropy:
        if isinstance(self.entropy, FullScore) and "entropy" not in site["infer"]:
            return self.entropy
        return estimators.entropy_of(site, self.entropy)

    def _weighed_particles(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[Traces, Estimate]]:
        if isinstance(self.control_variate, NoControlVariate):
            yield from super()._weighed_particles(model, guide, args, kwargs)
            return
        particles = list(self._get_traces(model, guide, args, kwargs))
        compare = _leave_one_out if isinstance(self.control_variate, LeaveOneOut) else _var_grad
        elbo, surrogate = compare(self, particles)
        yield particles[-1], Estimate(elbo / self.num_particles, surrogate / self.num_particles)

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traces:
        plates: tuple[Sites, Sites] = ({}, {})
        with DetachSamples() if isinstance(self.control_variate, VarGrad) else nullcontext():
            model_trace, guide_trace = get_importance_trace(
                "flat", self.max_plate_nesting, model, guide, args, kwargs, plates=plates
            )
        if is_validation_enabled():
            check_if_enumerated(guide_trace)
        sites = [site for site in guide_trace.nodes.values() if site["type"] == "sample"]
        if any(isinstance(self._entropy_of(site), StickingTheLanding) for site in sites):
            fixed = with_fixed_samples(guide, guide_trace, plates[1], args, kwargs)
            for site in sites:
                site["fixed_log_prob"] = fixed.nodes[site["name"]]["log_prob"]
        return model_trace, guide_trace


def _leave_one_out(objective: Trace_ELBO, particles: Sequence[Traces]) -> Estimate:
    parts = [objective._parts(*traces) for traces in particles]
    terms: list[Any] = [part.surrogate for part in parts]
    if objective.vectorize_particles:
        for name, (weight, score) in parts[0].scores.items():
            dim = particle_dim(parts[0].sites[name])
            terms.append((estimators.less_mean_of_others(_with_dim(weight, dim), dim) * score).sum())
    else:
        for name in parts[0].scores:
            if any(
                name not in part.scores or part.scores[name][0].shape != parts[0].scores[name][0].shape
                for part in parts
            ):
                raise ValueError(
                    f"at site {name!r}, LeaveOneOut compares particles, but not all of them have this site with the same shape"
                )
            weights = estimators.less_mean_of_others(torch.stack([part.scores[name][0] for part in parts]), 0)
            terms += [
                (weight * part.scores[name][1]).sum() for weight, part in zip(weights, parts, strict=True)
            ]
    return Estimate(_detached(total([part.elbo for part in parts])), total(terms))


def _var_grad(objective: Trace_ELBO, particles: Sequence[Traces]) -> Estimate:
    pairs = [[_per_particle(trace, objective) for trace in traces] for traces in particles]
    log_p, log_q = (torch.cat([pair[i].reshape(-1) for pair in pairs]) for i in (0, 1))
    weights = estimators.less_mean_of_others((log_p - log_q).detach(), 0)
    return Estimate((log_p - log_q).detach().sum(), log_p.sum() + (weights * log_q).sum())


def _per_particle(trace: Trace, objective: Trace_ELBO) -> Tensor:
    if not objective.vectorize_particles:
        return torch.as_tensor(total(_log_prob_sums(trace)))
    count = objective.num_particles
    return torch.as_tensor(
        total(
            [
                site["log_prob"].reshape(count, -1).sum(-1)
                for site in trace.nodes.values()
                if site["type"] == "sample"
            ]
        )
    )


def _divergence(name: str, model_trace: Trace, guide_site: Site) -> Tensor | None:
    model_site = model_trace.nodes.get(name)
    if model_site is None or model_site["is_observed"]:
        return None
    kl = analytic_kl(model_site, guide_site)
    if kl is None and isinstance(guide_site["infer"].get("entropy"), AnalyticKL):
        raise ValueError(
            f"at site {name!r}, AnalyticKL is not possible: no divergence of {guide_site['fn']} from {model_site['fn']} is "
            "known in closed form"
        )
    return kl


def _with_dim(value: Tensor, dim: int) -> Tensor:
    return value.reshape((1,) * (-dim - value.dim()) + value.shape)


def _log_prob_sums(trace: Trace, without: Collection[str] = ()) -> list[Any]:
    return [
        site["log_prob_sum"]
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and name not in without
    ]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
