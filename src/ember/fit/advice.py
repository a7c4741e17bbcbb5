"""What would help a fit that is not to be believed; what is named as checked was tried."""

from __future__ import annotations

import re
from collections.abc import Callable

from ember.fit.asked import Asked
from ember.fit.outcome import SPENT, Outcome

Again = Callable[[str], Outcome]
_LEAST_SECONDS = 1.0
_HEAVY = 0.7  # k-hat
_LEFT_OUT = re.compile(r"left out: about ([\d.]+) s")


def advice(
    asked: Asked, outcome: Outcome, written: str, again: Again, left: float, ran: str = "native"
) -> tuple[str, ...]:
    """Ways out, the likeliest first.

    Args:
        asked: what was asked for.
        outcome: what came of it.
        written: how the model is written with sites drawn through noise; empty if that does not apply.
        again: fits once more with another guide.
        left: seconds of the budget.
        ran: what ran the log density, and why, as :meth:`~ember.infer.density.Density.explain` says it.
    """
    verdict = outcome.verdict
    if verdict:
        return ()
    lines = []
    if asked.guide != "auto" and outcome.rest is None and left > _LEAST_SECONDS:
        found = again("auto")
        if found.verdict.status == "ok":
            lines.append('guide="auto": checked, it is ok')
    numbers = verdict.numbers
    notes = [_LEFT_OUT.search(record.note) for record in outcome.stages]
    seconds = [float(note[1]) for note in notes if note]
    spent = [record.name for record in outcome.stages if SPENT in record.note]
    heavy = numbers is not None and numbers.k_hat < _HEAVY and not numbers.k_mean < _HEAVY
    if outcome.rest is not None or (not lines and heavy):
        lines.append("use quantiles: a quantity whose mean does not exist has a median all the same")
    if not lines and outcome.modes > 1 and not seconds and not spent:
        lines.append(
            f"{outcome.modes} modes were found: if labels or signs can be exchanged without a change, put them in "
            "order, high = low + gap (not checked)"
        )
    if (seconds or spent) and not ran.startswith("native"):
        lines.append(f"a log density in C: it ran by {ran} (not checked)")
    if seconds:
        left_out = [record.name for record in outcome.stages if _LEFT_OUT.search(record.note)]
        names = ", ".join(dict.fromkeys(left_out))
        lines.append(
            f"budget={asked.budget + 2 * sum(seconds):.0f}: there was no time for {names} (not checked)"
        )
    if spent and not seconds:
        lines.append(f"budget={2 * asked.budget:.0f}: all was spent by the end of {spent[-1]} (not checked)")
    if not lines and written and asked.guide != "auto":
        lines.append(f"{written} (not checked)")
    if not lines:
        lines.append(f"a sampler, on the log density of ember.density({asked.name}, ...) (not checked)")
    return tuple(lines)
