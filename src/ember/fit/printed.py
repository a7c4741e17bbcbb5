"""What a fit says first: the verdict, what it rests on, and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ember.fit.outcome import AUDIT, CONFIRMED, Outcome, StageRecord
from ember.infer.density.judging.judge import Limits
from ember.infer.density.judging.verdict import Numbers, Status, Verdict

_WORDS: dict[Status, str] = {
    "ok": "OK",
    "means only": "MEANS ONLY — do not use its standard deviations",
    "poor": "POOR — do not use these numbers",
    "not converged": "NOT CONVERGED — do not use these numbers",
    "unverified": "UNVERIFIED — nothing is known of their error",
}
_WORST = 3


def printed(
    name: str, outcome: Outcome, names: Sequence[str], coordinates: str = "", advice: Sequence[str] = ()
) -> str:
    """The verdict in a few lines.

    Args:
        name: of the model.
        outcome: of the fit.
        names: of the quantities.
        coordinates: how sites were drawn through noise, if they were.
        advice: what would help.
    """
    rows = [*_rows(outcome, names, coordinates), *(("what helps", line) for line in advice)]
    width = max(len(key) for key, _ in rows) + 2
    return "\n".join(
        [f"{name}: {_headline(outcome, names)}", *(f"  {key:{width}}{text}" for key, text in rows)]
    )


def _headline(outcome: Outcome, names: Sequence[str]) -> str:
    verdict, rest = outcome.verdict, outcome.rest
    if rest is None:
        return _said(verdict)
    bad = outcome.apart(names)
    more = f" and {len(bad) - _WORST} more" if len(bad) > _WORST else ""
    its, count = "its" if len(bad) == 1 else "their", len(names) - len(bad)
    word = {"poor": "POOR", "means only": "MEANS ONLY"}[verdict.status]
    lost = "SD" if verdict.status == "means only" else "mean and SD"
    others = "the other quantity is" if count == 1 else f"the other {count} quantities are"
    return f"{word} for {', '.join(bad[:_WORST])}{more} — do not use {its} {lost}; {others} {_said(rest)}"


def _said(verdict: Verdict) -> str:
    numbers, word = verdict.numbers, _WORDS[verdict.status]
    if numbers is None or verdict.status not in ("ok", "means only"):
        return word
    error = f"means within {_up(numbers.mcse_mean)} SD"
    if verdict.status == "ok":
        error += f", SDs within {_up(100 * numbers.mcse_sd):g} %"
    return f"{word}: {error} (Monte Carlo error), given that no mode was missed"


def _up(error: float) -> float:
    """Three standard errors, rounded up to one digit that counts."""
    text = f"{3 * error:.0e}"
    rounded = float(text)
    step = 10 ** float(text.split("e")[1])
    return float(f"{rounded if rounded >= 3 * error else rounded + step:.3g}")


def _rows(outcome: Outcome, names: Sequence[str], coordinates: str) -> Iterator[tuple[str, str]]:
    verdict, numbers = outcome.verdict, outcome.verdict.numbers
    if verdict.status != "ok":
        yield from _listed("why", verdict.reasons)
        if numbers is not None and outcome.rest is None:
            yield "worst", ", ".join(names[column] for column in outcome.worst[:_WORST])
        yield from _listed("tried", [_tried(record) for record in outcome.stages])
    else:
        yield "guide", _guide(outcome, numbers)
    if coordinates:
        yield "coordinates", coordinates
    if numbers is not None and numbers.certificate is not None:
        certificate = numbers.certificate
        moves = f"the mean would move {certificate.mean:.3f} SD, the scale {100 * certificate.scale:.1f} %"
        yield "converged", f"{moves}; limits 0.05 SD, 10 %"
    if numbers is not None:
        weights = f"k-hat {numbers.k_hat:.2f} of 0.70, squares {numbers.k_square:.2f}"
        yield "weights", f"{weights}; ESS {numbers.ess:,.0f} of {numbers.draws:,}"
    modes = f"{outcome.modes} mode{'s' if outcome.modes > 1 else ''} found"
    yield "", f"{modes}; {outcome.seconds:.1f} s, {outcome.evaluations:,} evaluations of the density"


def _listed(key: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """One line each, the key at the first."""
    yield from ((key if i == 0 else "", line) for i, line in enumerate(lines))


def _guide(outcome: Outcome, numbers: Numbers | None) -> str:
    if outcome.stage == AUDIT:
        before = [record.name for record in outcome.stages if record.k_hat is not None]
        return f"{before[-1]}; the numbers are of short chains, which have forgotten from which of its draws they began"
    if CONFIRMED in outcome.verdict.reasons:
        return f"{outcome.stage}; short chains from its draws keep its moments"
    gap = None if numbers is None else numbers.agreement
    if gap is None or not gap.within(Limits()):
        return outcome.stage
    return f"{outcome.stage}; an earlier proposal agrees to {gap.mean:.2f} SD and {100 * gap.sd:.0f} %"


def _tried(record: StageRecord) -> str:
    if record.k_hat is None:
        return f"{record.name}{f': {record.note}' if record.note else ''}"
    weights = f"k-hat {record.k_hat:.2f}, ESS {record.ess or 0:,.0f}, ELBO {record.elbo or 0:.1f}"
    return f"{record.name}: {weights}, {record.seconds:.1f} s{f' ({record.note})' if record.note else ''}"
