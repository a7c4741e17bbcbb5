"""Fits by steps of an SVI: for guides of the user's, and for models that see a part of their data in each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.errors import EmberError, ModelError
from ember.fit.asked import Asked, name_of
from ember.fit.outcome import Outcome, StageRecord
from ember.fit.result import Called, Fit
from ember.infer.autoguide.base.guide import AutoGuide
from ember.infer.autoguide.packed.low_rank_normal import AutoLowRankMultivariateNormal
from ember.infer.autoguide.packed.multivariate_normal import AutoMultivariateNormal
from ember.infer.autoguide.sitewise.normal import AutoNormal
from ember.infer.density.judging.guide_certificate import guide_certificate
from ember.infer.density.judging.guide_rows import GuideRows, Pair
from ember.infer.density.judging.judge import Limits, Weighed, of_ratios
from ember.infer.density.judging.verdict import Numbers, Verdict, shortcomings
from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.infer.step.convergence.record import Convergence
from ember.infer.step.loop import SVIResult
from ember.infer.step.svi import SVI
from ember.infer.vi.natural_gradient import Certificate
from ember.ops.entries import Scalars, labels_of
from ember.ops.resampled import resampled
from ember.optim import Adam
from ember.params.param_store import ParamStoreDict
from ember.rng import fork_rng

Program = Callable[..., Any]
_RATE, _DRAWS = 0.02, 1 << 13
_FAMILIES: Mapping[str, type[AutoGuide]] = {
    "auto": AutoNormal,
    "mean-field": AutoNormal,
    "full-rank": AutoMultivariateNormal,
    "low-rank": AutoLowRankMultivariateNormal,
}


@dataclass(frozen=True)
class FlatSites:
    """Rows that are the entries of sites themselves, beside each other."""

    shapes: Mapping[str, torch.Size]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the entries."""
        return labels_of(self.shapes)

    def sites(self, u: Tensor) -> dict[str, Tensor]:
        """Values by site."""
        parts = torch.split(u, [prod(shape) for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(-1, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def fit_by_steps(asked: Asked, store: ParamStoreDict) -> Fit:
    """Train a guide until its averages have converged, and judge it by draws that are weighed over all data.

    Args:
        asked: what the caller wants.
        store: the active store, for the parameters of this fit.

    Raises:
        ModelError: for a family that is not trained by steps.
    """
    begun = time.perf_counter()
    guide = _guide(asked)
    kwargs = dict(asked.kwargs)
    with fork_rng():
        torch.manual_seed(asked.seed)
        svi = SVI(asked.model, guide, Adam({"lr": _RATE}), Trace_ELBO(), param_store=store)
        result = svi.run(
            *asked.args,
            until="converged",
            progress=asked.progress,
            callback=lambda *_: time.perf_counter() - begun > asked.budget,
            **kwargs,
        )
        drawn, certificate, unknown = _drawn(Pair(asked.model, guide, asked.args, kwargs, store))
    flat = Scalars.of(drawn.values)
    weighed = of_ratios(flat.values, drawn.log_p, drawn.log_q, flat.values)
    verdict = Verdict("unverified", (unknown,), None)
    if not unknown:
        verdict = _verdict(weighed, certificate, result.convergence)
    rows = resampled(weighed.log_weights, weighed.ess, asked.draws, asked.seed)
    return Fit(
        _outcome(weighed, certificate, verdict, guide, result, time.perf_counter() - begun),
        Called(asked.model, asked.args, kwargs),
        {name: value[rows] for name, value in drawn.values.items()},
        guide,
        {name: store[name].detach() for name in store},
        store,
        FlatSites({name: value.shape[1:] for name, value in drawn.values.items()}),
    )


def _outcome(
    weighed: Weighed,
    certificate: Certificate | None,
    verdict: Verdict,
    guide: Program,
    result: SVIResult,
    seconds: float,
) -> Outcome:
    kind = name_of(guide)
    rows = result.num_steps + len(weighed.log_p)
    return Outcome(
        weighed,
        None,
        None,
        f"{kind}, trained for {result.num_steps:,} steps",
        (StageRecord("steps", kind, weighed.elbo, weighed.k_hat, weighed.ess, rows, seconds),),
        result.losses,
        certificate,
        1,
        verdict,
        weighed.worst,
        rows,
        seconds,
    )


def _drawn(pair: Pair) -> tuple[GuideRows, Certificate | None, str]:
    """Draws of the guide with their densities, how far it is from its optimum, and why nothing can be said, if that is so."""
    try:
        drawn = pair.draw(_DRAWS)
    except EmberError as error:
        values = _draws_alone(pair)
        if not values:
            raise
        number = len(next(iter(values.values())))
        equal = torch.zeros(number, dtype=torch.float64)
        return GuideRows(equal, equal, values, "python"), None, str(error).partition("\n")[0]
    return drawn, guide_certificate(pair, drawn), ""


def _draws_alone(pair: Pair) -> dict[str, Tensor]:
    """Draws of the guide's sites outside of plates that take a part of their rows."""
    rows: list[dict[str, Tensor]] = []
    with torch.no_grad(), pair.store.active():
        for _ in range(_DRAWS // 4):
            trace = poutine.trace(pair.guide).get_trace(*pair.args, **pair.kwargs)
            rows.append(
                {
                    site.name: site.value
                    for site in trace.samples()
                    if site.is_latent
                    and not (site.is_subsample or site.is_auxiliary)
                    and all(frame.full_size in (None, frame.size) for frame in site.plates)
                }
            )
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _guide(asked: Asked) -> Program:
    if not isinstance(asked.guide, str):
        made = isinstance(asked.guide, type) and issubclass(asked.guide, AutoGuide)
        guide: Program = asked.guide(asked.model) if made else asked.guide
        return guide
    if asked.guide not in _FAMILIES:
        raise ModelError(
            f"guide={asked.guide!r} needs the log density of all data, and {asked.name} takes a part of them in each run\n"
            f"The way out: one of {', '.join(map(repr, _FAMILIES))}, a guide of your own, or a model without subsample_size."
        )
    return _FAMILIES[asked.guide](asked.model)


def _verdict(weighed: Weighed, certificate: Certificate | None, convergence: Convergence | None) -> Verdict:
    limits = Limits()
    numbers = Numbers.of(weighed, certificate, None)
    reasons = shortcomings(weighed, limits)
    if convergence is not None and not convergence.converged and not weighed.all_hold(limits):
        return Verdict("not converged", (convergence.why, *reasons), numbers)
    if weighed.is_easy(limits):
        return Verdict("ok", ("given that no mode was missed",), numbers)
    if weighed.means_hold(limits):
        return Verdict("means only", reasons or ("nothing confirms the standard deviations",), numbers)
    return Verdict("poor", reasons, numbers)
