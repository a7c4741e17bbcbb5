"""Climb the ladder of stages, and say what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ember.fit.conclusion import concluded
from ember.fit.outcome import Outcome, StageRecord
from ember.fit.stages import LADDER, Stage
from ember.fit.state import Options, State, around, defended
from ember.infer.density.judging.judge import Quantities
from ember.infer.vi.density import Counted, LogDensity

DEFAULTS = Options()
FEW_DRAWS = 1 << 12  # judged when somebody waits


def _themselves(u: Tensor) -> Tensor:
    return u


INTERRUPTED = "interrupted"


def fit_density(
    density: LogDensity,
    quantities: Quantities = _themselves,
    options: Options = DEFAULTS,
    ladder: Sequence[Stage] = LADDER,
) -> Outcome:
    """Fit a density, judge, and go on to richer families while the verdict is not ok and time is left.

    Args:
        density: a log density of unconstrained coordinates.
        quantities: a function from rows ``(S, D)`` to what is to be known of them, ``(S, Q)``; the
            coordinates by default.
        options: draws, budget in seconds, seed.
        ladder: the stages, in order.

    Returns:
        What was found, verdict included; also after Ctrl-C, as soon as a place with mass was found.

    Raises:
        ValueError: if the log density is minus infinity at all starting points.
        KeyboardInterrupt: if nothing was found yet.

    >>> from ember.infer.vi import FunctionDensity
    >>> from ember.fit import fit_density
    >>> outcome = fit_density(FunctionDensity(2, lambda u: -0.5 * ((u - 3) / 2).square().sum(-1)))
    >>> outcome.verdict.status, [round(x) for x in outcome.weighed.moments.mean.tolist()]
    ('ok', [3, 3])
    """
    return Climb(density, quantities, options).up(ladder)


class Climb:
    """One density on its way up: :func:`fit_density` in parts, each of which goes on where the one before has ended.

    Args:
        density: see :func:`fit_density`.
        quantities: see there.
        options: see there.
    """

    def __init__(
        self, density: LogDensity, quantities: Quantities = _themselves, options: Options = DEFAULTS
    ) -> None:
        self._state = State(Counted(density), quantities, options)

    def up(self, ladder: Sequence[Stage]) -> Outcome:
        """Try these stages, and say what is known now."""
        state = self._state
        with torch.no_grad():
            try:
                _climb(state, ladder)
            except KeyboardInterrupt:
                state.interrupted = INTERRUPTED
                if state.normal is None and state.low_rank is None:
                    raise
            if not state.judged:
                normal = around(state)
                state.guide = normal
                state.judge(
                    "cut short", normal, defended(normal, normal), min(FEW_DRAWS, state.options.draws)
                )
        return _outcome(state)


def _climb(state: State, ladder: Sequence[Stage]) -> None:
    for stage in ladder:
        if state.interrupted:
            return
        if (state.is_final() and not (state.options.audit and stage is ladder[-1])) or not stage.applies(
            state
        ):
            continue
        predicted = stage.rows(state) * state.p.seconds_a_row + stage.overhead(state)
        if state.judged and predicted > state.left:
            note = f"left out: about {predicted:.1f} s, and {max(state.left, 0):.1f} s of the budget are left"
            state.records.append(StageRecord(stage.name, "", None, None, None, 0, 0.0, note))
            continue
        _run(state, stage)


def _run(state: State, stage: Stage) -> None:
    """One stage, with its record."""
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
    found = concluded(state)
    judged, weighed = found.judged, found.judged.weighed
    return Outcome(
        weighed,
        state.guide or judged.family,
        judged.proposal,
        judged.stage,
        tuple(state.records),
        torch.tensor(state.losses, dtype=torch.double),
        state.certificate,
        state.modes,
        found.verdict,
        weighed.worst,
        state.p.evaluations,
        state.seconds,
        state.interrupted == INTERRUPTED,
        found.words,
        found.rest,
        bool(found.verdict) or state.is_final(),
    )
