"""Fits of models with a log density: the ladder of families, in the coordinates that suit the model best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ember.errors import ModelError, SubsamplingError
from ember.fit.advice import advice
from ember.fit.asked import Asked
from ember.fit.guides import moments_of, normal_guide
from ember.fit.kept import kept_density
from ember.fit.maximise import maximised
from ember.fit.outcome import Outcome
from ember.fit.own_dtypes import own_dtypes
from ember.fit.pipeline import INTERRUPTED, Climb
from ember.fit.quantities import SiteValues
from ember.fit.result import Called, Fit
from ember.fit.stages import LADDER, LADDERS
from ember.fit.state import Options
from ember.infer.density.density import Density, density
from ember.infer.density.judging.verdict import Status, Verdict
from ember.modules import parameters_put_back
from ember.ops.in_double import InDouble
from ember.ops.resampled import resampled
from ember.params.param_store import ParamStoreDict
from ember.poutine.handlers import block
from ember.primitives import param

Program = Callable[..., Any]
_DRAWS, _FEWEST_DRAWS = 1 << 15, 1 << 12
_TRIED, _FEW_TRIED, _SHORT = 256, 16, 0.01
_RANKS: Mapping[Status, int] = {"ok": 0, "means only": 1}
_NOISE_OF_K_HAT = 0.1
_FIRST = 2  # stages of the ladder that are tried in all coordinates: a place with mass, and a normal


@dataclass(frozen=True)
class _Coordinates:
    """A model in some coordinates, and what is known there."""

    values: SiteValues
    words: str = ""

    @property
    def density(self) -> Density:
        return self.values.density


@parameters_put_back()
def fit_by_density(asked: Asked, store: ParamStoreDict) -> Fit:
    """Fit a model through its log density.

    Args:
        asked: what the caller wants.
        store: the active store, for the parameters of this fit.
    """
    started = time.perf_counter()
    written, reason, params = _written(asked, store)
    options = _options(asked, written)
    plain = _Coordinates(SiteValues.of(written, options.draws))
    begun = time.perf_counter()  # compiling does not count
    with _watched(asked, options) as options:
        chosen, outcome = _best(asked, plain, options, begun)
        left = 0.0 if outcome.stopped else asked.budget - (time.perf_counter() - begun)
        found = None if outcome.verdict else asked.decentred
        noise = "" if found is None else found.advice
        ways = advice(
            asked,
            outcome,
            noise,
            lambda guide: _best(replace(asked, guide=guide), plain, options, begun)[1],
            left,
            plain.density.explain(),
        )
    if reason:
        outcome = replace(
            outcome,
            verdict=Verdict("not converged", (reason, *outcome.verdict.reasons), outcome.verdict.numbers),
            words=(),
            rest=None,
        )
    for name, dtype in params.items():
        store[name] = store[name].detach().to(dtype)
    return replace(_fitted(asked, store, plain, chosen, outcome, time.perf_counter() - started), advice=ways)


def _written(asked: Asked, store: ParamStoreDict) -> tuple[Density, str, dict[str, torch.dtype]]:
    """The density of the model as it is written, and what :func:`_settle_parameters` returns.

    Raises:
        ModelError: for a model without a density, or of parameters alone.
    """
    try:
        written = kept_density(asked.model, asked.args, asked.kwargs, asked.model)
    except SubsamplingError:
        raise
    except ModelError:
        # Without latent sites this says so; any other fault comes up again.
        _settle_parameters(asked, store)
        raise
    if not len(written.joint.store):
        return written, "", {}
    reason, params = _settle_parameters(asked, store)
    return density(asked.model, *asked.args, dtype=torch.float64, **asked.kwargs), reason, params


def _settle_parameters(asked: Asked, store: ParamStoreDict) -> tuple[str, dict[str, torch.dtype]]:
    """Put the parameters of a model at the maximum of its marginal likelihood, into the store.

    Returns:
        Why that has failed, if it has; and the types of the parameters as the model has them.

    Raises:
        ModelError: for a model of parameters alone.
    """
    target = density(asked.model, *asked.args, params="coordinates", dtype=torch.float64, **asked.kwargs)
    if not target.layout:
        raise ModelError(
            f"{asked.name} has parameters but no latent sites: there is no posterior to fit\n"
            "The way out: maximise its likelihood by SVI with an empty guide, def guide(*args, **kwargs): pass."
        )
    types = own_dtypes(asked.model, asked.args, dict(asked.kwargs))
    found = maximised(target, _options(asked, target))
    values = target.constrain(
        torch.cat([target.start[: target.param_slice.start], found.parameters]).unsqueeze(0)
    )
    for part in target.param_layout:
        param(part.name, values[part.name][0], constraint=part.support)
    return found.reason, {part.name: types.get(part.name, part.dtype) for part in target.param_layout}


def _options(asked: Asked, target: Density) -> Options:
    """As many draws as there is time for."""
    few = target.start.expand(_FEW_TRIED, -1)
    target(few[:2])
    row_seconds = _row_seconds(target, few[:2] if target.backend == "python" else few)
    if row_seconds * _TRIED < _SHORT:
        row_seconds = _row_seconds(target, target.start.expand(_TRIED, -1))
    affordable = int(asked.budget / 3 / max(row_seconds, 1e-9))
    draws = min(_DRAWS, max(_FEWEST_DRAWS, 1 << max(affordable, 1).bit_length() - 1))
    return Options(draws, asked.budget, asked.seed, asked.audit)


def _row_seconds(target: Density, rows: Tensor) -> float:
    """The best of some tries: native rows are so fast that others tell nothing."""
    tries = []
    for _ in range(3):
        begun = time.perf_counter()
        target(rows)
        tries.append(time.perf_counter() - begun)
    return min(tries) / len(rows)


def _best(asked: Asked, plain: _Coordinates, options: Options, begun: float) -> tuple[_Coordinates, Outcome]:
    """The fit whose verdict is good, or else the best there is."""

    def climb(coordinates: _Coordinates) -> Climb:
        left = max(asked.budget - (time.perf_counter() - begun), 0.1)
        return Climb(coordinates.density, coordinates.values, replace(options, budget=left))

    if asked.guide != "auto":
        return plain, climb(plain).up(LADDERS[str(asked.guide)])
    best: tuple[_Coordinates, Outcome] | None = None
    try:
        for best in _climbs(asked, plain, climb):
            if best[1].stopped or (best[1].final and not asked.audit):
                return best
    except KeyboardInterrupt:
        if best is None:
            raise
        return best[0], _cut_short(best[1])
    assert best is not None
    return best


def _climbs(
    asked: Asked, plain: _Coordinates, climb: Callable[[_Coordinates], Climb]
) -> Iterator[tuple[_Coordinates, Outcome]]:
    """The best so far: by normals, by normals in noise coordinates, by all families in the better ones, then in the others."""
    tries = [(plain, climb(plain))]
    best = plain, tries[0][1].up(LADDER[:_FIRST])
    yield best
    noise = _through_noise(asked, plain)
    if noise is not None:
        tries.append((noise, climb(noise)))
        best = _better(best, (noise, tries[1][1].up(LADDER[:_FIRST])))
        yield best
    for coordinates, up in sorted(tries, key=lambda tried: tried[0] is not best[0]):
        found = coordinates, up.up(LADDER[_FIRST:])
        best = found if coordinates is best[0] else _better(best, found)
        yield best


def _better(
    best: tuple[_Coordinates, Outcome], other: tuple[_Coordinates, Outcome]
) -> tuple[_Coordinates, Outcome]:
    """One of two; if Ctrl-C has ended the other, it ends the best too."""
    if _is_better(other[1], best[1]):
        return other
    return (best[0], _cut_short(best[1])) if other[1].stopped else best


def _cut_short(outcome: Outcome) -> Outcome:
    """What was found before Ctrl-C has ended a later attempt."""
    verdict = replace(outcome.verdict, reasons=(INTERRUPTED, *outcome.verdict.reasons))
    return replace(outcome, verdict=verdict, stopped=True)


def _is_better(one: Outcome, other: Outcome) -> bool:
    """By the verdict, then by k-hat where it differs by more than its noise, then by the draws that count."""
    ranks = [
        (_RANKS.get(outcome.verdict.status, len(_RANKS)), sum(word != "ok" for word in outcome.by_column))
        for outcome in (one, other)
    ]
    if ranks[0] != ranks[1]:
        return ranks[0] < ranks[1]
    a, b = one.weighed, other.weighed
    return a.k_hat < b.k_hat if abs(a.k_hat - b.k_hat) > _NOISE_OF_K_HAT else a.ess > b.ess


def _through_noise(asked: Asked, plain: _Coordinates) -> _Coordinates | None:
    found = asked.decentred
    if found is None:
        return None
    target = kept_density(asked.model, asked.args, asked.kwargs, found.model, found.advice)
    if not plain.values.shapes.keys() <= target.constrain(target.start.unsqueeze(0)).keys():
        return None  # a site that follows from one that is summed out has no value of its own there
    words = f"{', '.join(found.sites)} drawn through standard noise: {found.advice}"
    return _Coordinates(SiteValues(target, plain.values.shapes), words)


@contextmanager
def _watched(asked: Asked, options: Options) -> Iterator[Options]:
    """Options with a bar of progress, if one is asked for."""
    if not asked.progress:
        yield options
        return
    with tqdm(bar_format="{desc} [{elapsed}]", desc=f"{asked.name}: compiling") as bar:

        def watch(stage: str, elbo: float) -> None:
            known = f", ELBO {elbo:,.1f}" if math.isfinite(elbo) else ""
            bar.set_description_str(f"{asked.name}: {stage}{known}", refresh=False)
            bar.update()

        yield replace(options, watch=watch)


def _fitted(
    asked: Asked,
    store: ParamStoreDict,
    plain: _Coordinates,
    chosen: _Coordinates,
    outcome: Outcome,
    seconds: float,
) -> Fit:
    rows = resampled(outcome.log_weights, outcome.weighed.ess, asked.draws, asked.seed)
    kwargs = dict(asked.kwargs)
    types = own_dtypes(asked.model, asked.args, kwargs)
    all_draws = SiteValues(chosen.density, _shapes_of_all(plain.density)).sites(outcome.draws[rows])
    u = plain.density.unconstrain(plain.values.sites(outcome.draws)) if chosen is not plain else outcome.draws
    with nullcontext() if types else InDouble():
        guide = normal_guide(
            without(asked.model, plain.density), asked.args, kwargs, store, moments_of(u, outcome.log_weights)
        )
    return Fit(
        replace(outcome, seconds=seconds),
        Called(asked.model, asked.args, kwargs),
        {name: value.to(types.get(name, value.dtype)) for name, value in all_draws.items()},
        guide,
        {name: store[name].detach() for name in store},
        store,
        chosen.values,
        chosen.words,
    )


def without(model: Program, target: Density) -> Program:
    """A model without the sites that are summed out, for guides."""
    summed = sorted(target.joint.structure.enumerated)
    hidden: Program = block(model, hide=summed) if summed else model
    return hidden


def _shapes_of_all(target: Density) -> dict[str, torch.Size]:
    return {name: value.shape[1:] for name, value in target.constrain(target.start.unsqueeze(0)).items()}
