"""Climb the ladder of stages, and say what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ember.fit.judge import Limits, Quantities, gap
from ember.fit.outcome import Outcome, StageRecord
from ember.fit.stages import LADDER, Stage
from ember.fit.state import Judged, Options, State, defended, found_normal
from ember.fit.verdict import Numbers, Verdict, shortcomings
from ember.infer.vi.density import Counted, LogDensity

DEFAULTS = Options()
FEW_DRAWS = 1 << 12  # judged when somebody waits


def _themselves(u: Tensor) -> Tensor:
    return u


def fit_density(
    density: LogDensity,
    quantities: Quantities = _themselves,
    options: Options = DEFAULTS,
    ladder: Sequence[Stage] = LADDER,
) -> Outcome:
    """Fit a density, judge, and go on to richer families while the verdict is not ok and time is left.

    Args:
        density: of unconstrained coordinates.
        quantities: what is to be known, from rows ``(S, D)`` to ``(S, Q)``; the coordinates by default.
        options: draws, budget, seed.
        ladder: the stages, in order.

    Returns:
        What was found, verdict included; also after Ctrl-C, as soon as a place with mass was found.

    Raises:
        ValueError: if the log density is minus infinity at all starting points.
        KeyboardInterrupt: if nothing was found yet.

    >>> from ember.infer.vi.density import FunctionDensity
    >>> outcome = fit_density(FunctionDensity(2, lambda u: -0.5 * ((u - 3) / 2).square().sum(-1)))
    >>> outcome.verdict.status, [round(x) for x in outcome.weighed.moments.mean.tolist()]
    ('ok', [3, 3])
    """
    state = State(Counted(density), quantities, options)
    with torch.no_grad():
        try:
            _climb(state, ladder)
        except KeyboardInterrupt:
            state.interrupted = "interrupted"
            if state.normal is None:
                raise
        if not state.judged:
            normal = found_normal(state)
            state.guide = normal
            state.judge("cut short", normal, defended(normal, normal), min(FEW_DRAWS, options.draws))
    return _outcome(state)


def _climb(state: State, ladder: Sequence[Stage]) -> None:
    for stage in ladder:
        if state.interrupted or state.is_settled():
            return
        if not stage.applies(state):
            continue
        predicted = stage.rows(state) * state.p.seconds_a_row + stage.overhead(state)
        if state.judged and predicted > state.left:
            note = f"left out: about {predicted:.1f} s, and {max(state.left, 0):.1f} s of the budget are left"
            state.records.append(StageRecord(stage.name, "", None, None, None, 0, 0.0, note))
            continue
        before, begun, judged = state.p.evaluations, time.perf_counter(), len(state.judged)
        try:
            stage.run(state)
        finally:
            last = state.judged[-1] if len(state.judged) > judged else None
            state.records.append(
                StageRecord(
                    stage.name,
                    type(last.family).__name__ if last else "",
                    last.weighed.elbo if last else None,
                    last.weighed.k_hat if last else None,
                    last.weighed.ess if last else None,
                    state.p.evaluations - before,
                    time.perf_counter() - begun,
                    state.interrupted,
                )
            )


def _outcome(state: State) -> Outcome:
    judged = _chosen(state.judged, state.options.limits) if not state.is_settled() else state.judged[-1]
    weighed = judged.weighed
    trouble = torch.maximum(weighed.mean_errors, weighed.sd_errors) + weighed.k_squares.clamp(0, 10)
    return Outcome(
        weighed,
        state.guide or judged.family,
        judged.proposal,
        judged.stage,
        tuple(state.records),
        torch.tensor(state.losses, dtype=torch.double),
        state.certificate,
        1 + len(state.far),
        verdict_of(state, judged),
        tuple(trouble.argsort(descending=True).tolist()),
        state.p.evaluations,
        state.seconds,
    )


def _chosen(all_judged: Sequence[Judged], limits: Limits) -> Judged:
    """The last proposal whose means can be used, else the one of the lowest k-hat and most effective draws."""
    usable = [judged for judged in all_judged if judged.weighed.means_hold(limits)]
    if usable:
        return usable[-1]
    return max(all_judged, key=lambda judged: (judged.weighed.k_hat < limits.k_hat, judged.weighed.ess))


def verdict_of(state: State, judged: Judged) -> Verdict:
    """The verdict on the draws that were chosen."""
    limits = state.options.limits
    numbers = Numbers.of(judged.weighed, state.certificate, state.agreement())
    if state.is_settled():
        return Verdict("ok", _assumption(state), numbers)
    reasons = shortcomings(judged.weighed, limits)
    if state.interrupted:
        reasons = (state.interrupted, *reasons)
    if state.certificate is not None and not state.certificate.holds and len(state.judged) == 1:
        moves = f"the mean would still move {state.certificate.mean:.2f} SD, the scale {100 * state.certificate.scale:.0f} %"
        return Verdict("not converged", (moves, *reasons), numbers)
    if state.misses_modes(judged):
        reasons = (f"{len(state.far)} other modes were found, which its proposal does not cover", *reasons)
    elif judged.weighed.means_hold(limits):
        others = [
            other.weighed
            for other in state.judged
            if other is not judged and other.weighed.means_hold(limits)
        ]
        if not others or gap(others[-1].moments, judged.weighed.moments).mean < limits.agree_mean:
            return Verdict(
                "means only", reasons or ("no second proposal confirms the standard deviations",), numbers
            )
        reasons = (*reasons, "two proposals do not agree on the means")
    return Verdict("poor", reasons, numbers)


def _assumption(state: State) -> tuple[str, ...]:
    modes = 1 + len(state.far)
    return (f"given that no mode was missed ({modes} found)",)
