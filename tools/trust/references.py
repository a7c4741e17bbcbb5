"""Fit every reference posterior by `ember.fit` with nothing but a seed, and judge what it says.

    python -m tools.trust.references [NAME ...] [--seeds 5] [--budget SECONDS] [--json FILE]

A table of models, then what the project promises: verdicts right in 95 % of the fits, at most 1 % "ok" on wrong numbers, 95 %
of all fits within 0.1 standard deviations in every mean and 10 % in every standard deviation, and no two "ok" fits of a model
that differ by more than 0.1 standard deviations. Ends with 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ember
from tools.trust.judgement import Judgement, judge
from tools.trust.posteriors import POSTERIORS
from tools.trust.truth import LARGEST_SHIFT, Errors, Moment, errors, known, moments

RIGHT, FALSE_OK, WITHIN = 0.95, 0.01, 0.95


@dataclass(frozen=True)
class Outcome:
    """One fit of one model."""

    model: str
    seed: int
    status: str
    """The verdict's, or what was raised."""
    judgement: str
    seconds: float
    cpu: float
    """Seconds of this process; compilers that it starts are not in them."""
    found: Errors | None
    """None if there is no answer."""
    why: str
    answer: dict[str, Moment]


def fit(name: str, seed: int, **options: Any) -> Outcome:
    """Fit once; an exception is an outcome too, and a wrong one."""
    posterior, truth = POSTERIORS[name], moments(name)
    arguments: dict[str, Any] = posterior.arguments()
    start, cpu = time.perf_counter(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a poor fit warns of is in its verdict
            result: Any = ember.fit(posterior.model, seed=seed, progress=False, **options, **arguments)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        answer = _answer(result)
        found = errors(truth, answer)
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return Outcome(name, seed, "failed", "failed", time.perf_counter() - start, 0.0, None, line, {})
    status = str(result.verdict.status)
    why = "; ".join(map(str, result.verdict.reasons))
    return Outcome(name, seed, status, str(judge(status, found)), seconds, cpu, found, why, answer)


def _answer(result: Any) -> dict[str, Moment]:
    table = result.summary()
    return {name: Moment(table[name]["mean"], table[name]["sd"]) for name in table}


def disagreement(outcomes: Sequence[Outcome]) -> float:
    """How far the means of two "ok" fits of one model are apart at most, in its true standard deviations."""
    good = [outcome.answer for outcome in outcomes if outcome.status == "ok"]
    if len(good) < 2:
        return 0.0
    truth = moments(outcomes[0].model)
    return max(
        (max(a[label].mean for a in good) - min(a[label].mean for a in good)) / sd
        for label, (_, sd) in truth.items()
    )


COLUMNS = (
    *("model", "scalars", "verdicts", "judged", "worst mean, SDs", "worst SD, %", "seeds apart, SDs"),
    *("first, s", "others, s", "others, CPU s"),
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|---|---:|---|---|{'---:|' * (len(COLUMNS) - 4)}"


def row(outcomes: Sequence[Outcome]) -> str:
    """One line of the table: all fits of a model."""
    there = [outcome.found for outcome in outcomes if outcome.found is not None]
    shift = max(there, key=lambda found: found.shift, default=None)
    stretch = max(there, key=lambda found: found.stretch, default=None)
    later = outcomes[1:]
    cells = [
        outcomes[0].model,
        str(len(moments(outcomes[0].model))),
        _counted([outcome.status for outcome in outcomes]),
        _counted([outcome.judgement for outcome in outcomes]),
        f"{shift.shift:.3f} ({shift.shifted})" if shift else "-",
        f"{100 * stretch.stretch:.1f} ({stretch.stretched})" if stretch else "-",
        f"{disagreement(outcomes):.3f}",
        f"{outcomes[0].seconds:.2f}",
        f"{sum(o.seconds for o in later) / len(later):.2f}" if later else "-",
        f"{sum(o.cpu for o in later) / len(later):.2f}" if later else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))


def promises(outcomes: Sequence[Outcome]) -> list[tuple[str, bool]]:
    """What was promised, with its figure, and whether it is kept."""
    total = len(outcomes)
    right = sum(outcome.judgement == Judgement.RIGHT for outcome in outcomes)
    false = sum(outcome.judgement == Judgement.FALSE_OK for outcome in outcomes)
    within = sum(outcome.found is not None and outcome.found.all_hold for outcome in outcomes)
    names = dict.fromkeys(outcome.model for outcome in outcomes)
    apart = max(disagreement([o for o in outcomes if o.model == name]) for name in names)
    return [
        (f"verdict right: {right} of {total} (>= {RIGHT:.0%})", right >= RIGHT * total),
        (f'"ok" on wrong numbers: {false} of {total} (<= {FALSE_OK:.0%})', false <= FALSE_OK * total),
        (f"within 0.1 SD and 10 %: {within} of {total} (>= {WITHIN:.0%})", within >= WITHIN * total),
        (f'two "ok" seeds apart: {apart:.3f} SD (<= {LARGEST_SHIFT})', apart <= LARGEST_SHIFT),
    ]


def remarks(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each fit that was not both "ok" and right."""
    return [
        f"- {outcome.model}, seed {outcome.seed}: {outcome.status}, {outcome.judgement}. {outcome.why}"
        for outcome in outcomes
        if (outcome.status, outcome.judgement) != ("ok", Judgement.RIGHT)
    ]


def main(argv: Sequence[str]) -> int:
    """Print the table as it comes, then the promises; 1 if one is broken."""
    parser = argparse.ArgumentParser(prog="tools.trust.references", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--budget", type=float, help="seconds of a fit, on a machine that is busy; its own default else"
    )
    chosen = parser.parse_args(argv)
    options = {} if chosen.budget is None else {"budget": chosen.budget}
    outcomes: list[Outcome] = []
    print(HEAD, flush=True)
    for name in chosen.names or known():
        outcomes += [fit(name, seed, **options) for seed in range(chosen.seeds)]
        print(row(outcomes[-chosen.seeds :]), flush=True)
        if chosen.json is not None:
            chosen.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
    kept = promises(outcomes)
    print("", *(f"{'kept  ' if good else 'BROKEN'} {text}" for text, good in kept), sep="\n")
    if lines := remarks(outcomes):
        print("", *lines, sep="\n")
    return int(not all(good for _, good in kept))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
