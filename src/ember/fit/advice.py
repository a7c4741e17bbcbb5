"""What would help a fit that is not to be believed; what is named as checked was tried."""

from __future__ import annotations

import re
from collections.abc import Callable

from ember.fit.asked import Asked
from ember.fit.outcome import Outcome

Again = Callable[[str], Outcome]
_LEAST_SECONDS = 1.0
_NO_MEAN = 0.7  # k-hat
_LEFT_OUT = re.compile(r"left out: about ([\d.]+) s")


def advice(asked: Asked, outcome: Outcome, written: str, again: Again, left: float) -> tuple[str, ...]:
    """Ways out, the likeliest first.

    Args:
        asked: what was asked for.
        outcome: what came of it.
        written: how the model is written with sites drawn through noise; empty if that does not apply.
        again: fits once more with another guide.
        left: seconds of the budget.
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
    if outcome.rest is not None or (not lines and numbers is not None and not numbers.k_mean < _NO_MEAN):
        lines.append("use quantiles: a quantity whose mean does not exist has a median all the same")
    notes = [_LEFT_OUT.search(record.note) for record in outcome.stages]
    seconds = [float(note[1]) for note in notes if note]
    if seconds:
        names = ", ".join(record.name for record in outcome.stages if _LEFT_OUT.search(record.note))
        lines.append(
            f"budget={asked.budget + 2 * sum(seconds):.0f}: there was no time for {names} (not checked)"
        )
    if not lines and written and asked.guide != "auto":
        lines.append(f"{written} (not checked)")
    if not lines:
        lines.append(f"a sampler, on the log density of ember.density({asked.name}, ...) (not checked)")
    return tuple(lines)
